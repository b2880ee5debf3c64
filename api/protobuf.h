/* Protocol buffers on the wire: one field after the other, bounded, without allocation.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The bytes stay where they are; a field of length-delimited type is a slice of them. Numbers above
 * 2^29-1, the number 0, varints of more than 64 bits, lengths beyond the end, and the two group
 * types (never written since proto2) make the message broken: `broken` is then set for good and
 * protobuf_next returns false. Fields that the caller does not know are his to skip, as the format
 * wants.
 */
#ifndef API_PROTOBUF_H
#define API_PROTOBUF_H

#include "base/series_name.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum protobuf_wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct protobuf {
    const char *at, *end;
    bool broken;
};

struct protobuf_field {
    uint32_t number;
    enum protobuf_wire wire;
    uint64_t value;     /* of the three types of numbers, as it stands */
    struct slice bytes; /* of WIRE_BYTES, else empty */
};

static inline struct protobuf protobuf_of(struct slice bytes)
{
    return (struct protobuf){bytes.bytes, bytes.bytes + bytes.length, false};
}

static inline bool protobuf_fail(struct protobuf *message)
{
    message->broken = true;
    message->at = message->end;
    return false;
}

static inline bool protobuf_varint(struct protobuf *message, uint64_t *value)
{
    uint64_t sum = 0;
    if (message->at < message->end && (unsigned char)*message->at < 0x80) {
        *value = (unsigned char)*message->at++; /* nearly always */
        return true;
    }
    for (unsigned shift = 0; shift < 70 && message->at < message->end; shift += 7) {
        uint64_t byte = (unsigned char)*message->at++;
        if (shift == 63 && byte > 1) {
            break;
        }
        sum |= (byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = sum;
            return true;
        }
    }
    return protobuf_fail(message);
}

/* Little-endian, as on every machine that forecastd runs on. */
static inline bool protobuf_fixed(struct protobuf *message, size_t size, uint64_t *value)
{
    if ((size_t)(message->end - message->at) < size) {
        return protobuf_fail(message);
    }
    *value = 0;
    memcpy(value, message->at, size);
    message->at += size;
    return true;
}

/* The next field; false at the end, and where the message is broken. In line everywhere: a field in
 * memory would be written in halves and read as a whole, which processors are slow at. */
static inline __attribute__((always_inline)) bool protobuf_next(struct protobuf *message,
                                                                struct protobuf_field *field)
{
    uint64_t key = 0;
    if (message->at == message->end || !protobuf_varint(message, &key)) {
        return false;
    }
    if (key >> 3 == 0 || key >> 32 != 0) {
        return protobuf_fail(message);
    }
    field->number = (uint32_t)(key >> 3);
    field->wire = (enum protobuf_wire)(key & 7);
    field->bytes.bytes = "";
    field->bytes.length = 0;
    switch (field->wire) {
    case WIRE_VARINT:
        return protobuf_varint(message, &field->value);
    case WIRE_FIXED64:
        return protobuf_fixed(message, 8, &field->value);
    case WIRE_FIXED32:
        return protobuf_fixed(message, 4, &field->value);
    case WIRE_BYTES:
        if (!protobuf_varint(message, &field->value) ||
            field->value > (uint64_t)(message->end - message->at)) {
            return protobuf_fail(message);
        }
        field->bytes = (struct slice){message->at, (size_t)field->value};
        message->at += field->value;
        return true;
    }
    return protobuf_fail(message);
}

#endif
