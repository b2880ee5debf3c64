/* The pieces of a line in InfluxDB's line protocol: keys, values, times.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/line_scan.h"

#include "base/json_reader.h"

#include <math.h>
#include <string.h>

#define NUMBER_BYTES_MAX 64

static const char *fail(const char **fault, const char *what)
{
    *fault = what;
    return NULL;
}

/* What a byte may mean. */
enum { PART = 1, EQUALS = 2, QUOTE = 4, END = 8, BACKSLASH = 16 };
static const unsigned char classes[256] = {
    [','] = PART, [' '] = PART, ['='] = EQUALS,    ['"'] = QUOTE,
    ['\n'] = END, ['\r'] = END, ['\\'] = BACKSLASH};

static inline unsigned class_of(char c)
{
    return classes[(unsigned char)c];
}

/* Behind the value of a field. */
static inline bool is_delimiter(const char *at, const char *end)
{
    return line_ends(at, end) || *at == ',' || *at == ' ' || *at == '\t';
}

/* ---------------------------------------------------------------- keys */

/* To the first byte of the classes `stops` without a backslash in front, or to the end of the line.
 */
static const char *scan_until(const char *at, const char *end, unsigned stops)
{
    while (at < end) {
        unsigned class = class_of(*at);
        if ((class & stops) || (class == END && line_ends(at, end))) {
            break;
        }
        bool escape = class == BACKSLASH && at + 1 < end && (class_of(at[1]) & stops);
        at += escape ? 2 : 1;
    }
    return at;
}

const char *line_scan_key(const char *at, const char *end, const char **fault)
{
    if (line_ends(at, end) || *at == ',') {
        return fail(fault, "missing measurement");
    }
    at = scan_until(at, end, PART);
    while (!line_ends(at, end) && *at == ',') {
        const char *key = ++at;
        at = scan_until(at, end, PART | EQUALS);
        if (at == key) {
            return fail(fault, "missing tag key");
        }
        if (line_ends(at, end) || *at != '=') {
            return fail(fault, "missing tag value");
        }
        const char *value = ++at;
        at = scan_until(at, end, PART | EQUALS);
        if (!line_ends(at, end) && *at == '=') {
            return fail(fault, "invalid tag format");
        }
        if (at == value) {
            return fail(fault, "missing tag value");
        }
    }
    return line_ends(at, end) ? fail(fault, "missing fields") : at;
}

const char *line_scan_field(const char *at, const char *end, const char **fault)
{
    const char *begin = at;
    if (line_ends(at, end)) {
        return fail(fault, at[-1] == ',' ? "invalid field format" : "missing fields");
    }
    while (!line_ends(at, end) && *at != '=' && *at != ',' && *at != ' ') {
        at += *at == '\\' && at + 1 < end && at[1] != '\n' ? 2 : 1;
    }
    if (line_ends(at, end) || *at != '=') {
        return fail(fault, "invalid field format");
    }
    return at > begin ? at : fail(fault, "missing field key");
}

/* ---------------------------------------------------------------- values */

/* From behind the opening quote to behind the closing one; NULL where there is none. */
static const char *scan_string(const char *at, const char *end)
{
    while (at < end && *at != '"') {
        at += *at == '\\' && at + 1 < end ? 2 : 1;
    }
    return at < end ? at + 1 : NULL;
}

static bool is_boolean(const char *word, size_t length)
{
    static const char *const words[] = {"t",     "T", "true",  "True",  "TRUE",
                                        "false", "f", "False", "FALSE", "F"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strlen(words[i]) == length && memcmp(words[i], word, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Digits with an i or u behind them, within the range of such a number. */
static bool read_integer(const char *word, size_t length, double *value)
{
    bool negative = word[0] == '-', is_unsigned = word[length - 1] == 'u';
    uint64_t sum = 0, limit = is_unsigned ? UINT64_MAX : (uint64_t)INT64_MAX + negative;
    if (length < (size_t)negative + 2 || (negative && is_unsigned)) {
        return false;
    }
    for (size_t i = negative; i + 1 < length; i++) {
        unsigned digit = (unsigned)((unsigned char)word[i] - '0');
        if (digit > 9 || sum > (limit - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = negative ? -(double)sum : (double)sum;
    return true;
}

static size_t count_digits(const char *at, const char *end)
{
    size_t count = 0;
    while (at + count < end && at[count] >= '0' && at[count] <= '9') {
        count++;
    }
    return count;
}

/* What JSON does not allow: leading zeros, nothing on one side of the point. The number is written
 * anew in JSON's form. */
static bool read_float(const char *word, size_t length, double *value)
{
    char plain[NUMBER_BYTES_MAX + 3];
    const char *at = word, *end = word + length;
    size_t used = 0;
    int64_t integer = 0;
    int is_integer = 0;
    if (at < end && *at == '-') {
        plain[used++] = *at++;
    }
    size_t whole = count_digits(at, end), fraction = 0;
    while (whole > 1 && *at == '0') {
        at++;
        whole--;
    }
    if ((size_t)(end - at) > NUMBER_BYTES_MAX) {
        return false;
    }
    memcpy(plain + used, whole ? at : "0", whole ? whole : 1);
    used += whole ? whole : 1;
    at += whole;
    if (at < end && *at == '.') {
        fraction = count_digits(at + 1, end);
        if (fraction > 0) {
            memcpy(plain + used, at, fraction + 1);
            used += fraction + 1;
        }
        at += fraction + 1;
    }
    if (whole + fraction == 0) {
        return false;
    }
    memcpy(plain + used, at, (size_t)(end - at));
    used += (size_t)(end - at);
    return json_parse_number(plain, used, value, &integer, &is_integer) == used && isfinite(*value);
}

/* Any number that the short cut of line_scan_value left. */
static const char *scan_number(const char *at, const char *end, double *value, const char **fault)
{
    const char *begin = at;
    while (!is_delimiter(at, end)) {
        at++;
    }
    size_t length = (size_t)(at - begin);
    bool suffix = at[-1] == 'i' || at[-1] == 'u';
    bool good = suffix ? read_integer(begin, length, value) : read_float(begin, length, value);
    return good ? at : fail(fault, "invalid number");
}

const char *line_scan_value(const char *at, const char *end, enum line_value *kind, double *value,
                            const char **fault)
{
    int64_t integer = 0;
    int is_integer = 0;
    *kind = LINE_NUMBER;
    size_t used = json_parse_number(at, (size_t)(end - at), value, &integer, &is_integer);
    if (used > 0 && is_delimiter(at + used, end) && isfinite(*value)) {
        return at + used;
    }
    if (used > 0 && is_integer && at + used < end && at[used] == 'i' &&
        is_delimiter(at + used + 1, end)) {
        return at + used + 1;
    }
    if (is_delimiter(at, end)) {
        return fail(fault, "missing field value");
    }
    if (*at == '"') {
        *kind = LINE_STRING;
        at = scan_string(at + 1, end);
        if (!at) {
            return fail(fault, "unbalanced quotes");
        }
        return is_delimiter(at, end) ? at : fail(fault, "invalid field format");
    }
    if ((*at >= '0' && *at <= '9') || *at == '-' || *at == '.' || *at == 'n' || *at == 'N') {
        return scan_number(at, end, value, fault);
    }
    const char *word = at;
    while (!is_delimiter(at, end)) {
        at++;
    }
    *kind = LINE_BOOLEAN;
    return is_boolean(word, (size_t)(at - word)) ? at : fail(fault, "invalid boolean");
}

/* ---------------------------------------------------------------- times and ends */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t')) {
        at++;
    }
    return at;
}

/* Rounded down. Constant divisors: a division by a variable would cost as much as a whole value. */
static bool to_milliseconds(int64_t stamp, enum line_precision precision, int64_t *time_ms)
{
    switch (precision) {
    case LINE_NS:
        *time_ms = stamp / 1000000 - (stamp % 1000000 < 0);
        return true;
    case LINE_US:
        *time_ms = stamp / 1000 - (stamp % 1000 < 0);
        return true;
    case LINE_MS:
        *time_ms = stamp;
        return true;
    case LINE_S:
        return !__builtin_mul_overflow(stamp, INT64_C(1000), time_ms);
    case LINE_MINUTES:
        return !__builtin_mul_overflow(stamp, INT64_C(60000), time_ms);
    case LINE_HOURS:
        return !__builtin_mul_overflow(stamp, INT64_C(3600000), time_ms);
    }
    return false;
}

const char *line_scan_time(const char *at, const char *end, enum line_precision precision,
                           int64_t *time_ms, const char **fault)
{
    at = skip_blanks(at, end);
    if (line_ends(at, end)) {
        return at < end && *at == '\r' ? at + 1 : at;
    }
    bool negative = *at == '-', in_range = true;
    int64_t stamp = 0;
    const char *digits = at += negative;
    for (; at < end && at - digits < 18 && *at >= '0' && *at <= '9'; at++) {
        stamp = stamp * 10 + (*at - '0'); /* 18 digits always fit */
    }
    stamp = negative ? -stamp : stamp;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        int64_t digit = negative ? '0' - *at : *at - '0';
        in_range = in_range && !__builtin_mul_overflow(stamp, INT64_C(10), &stamp) &&
                   !__builtin_add_overflow(stamp, digit, &stamp);
    }
    if (at == digits || !(line_ends(at, end) || *at == ' ' || *at == '\t')) {
        return fail(fault, "bad timestamp");
    }
    at = skip_blanks(at, end);
    if (!line_ends(at, end)) {
        return fail(fault, "point is invalid");
    }
    if (!in_range || !to_milliseconds(stamp, precision, time_ms)) {
        return fail(fault, "time outside range");
    }
    return at < end && *at == '\r' ? at + 1 : at;
}

/* Quotes count only where the value of a field may begin: InfluxDB cuts lines in the same way. */
const char *line_find_end(const char *at, const char *end)
{
    while (at < end && *at != ' ' && *at != '\n') { /* keys have no quotes */
        at += *at == '\\' && at + 1 < end && at[1] == ' ' ? 2 : 1;
    }
    while (at < end && *at != '\n') {
        if (*at == '=' && at + 1 < end && at[1] == '"') {
            at = scan_string(at + 2, end);
            if (!at) {
                return end;
            }
        } else {
            at += *at == '\\' && at + 1 < end && at[1] != '\n' ? 2 : 1;
        }
    }
    return at;
}

/* ---------------------------------------------------------------- series */

/* Room for the parts of a name without their escapes. */
struct store {
    char bytes[SERIES_TEXT_MAX];
    size_t used;
};

/* Without the backslashes in front of the classes `special`. False where there is no room. */
static bool unescape(struct store *store, struct slice from, unsigned special)
{
    for (size_t i = 0; i < from.length; i++) {
        if (from.bytes[i] == '\\' && i + 1 < from.length &&
            (class_of(from.bytes[i + 1]) & special)) {
            i++;
        }
        if (store->used == sizeof(store->bytes)) {
            return false;
        }
        store->bytes[store->used++] = from.bytes[i];
    }
    return true;
}

/* A key that a label may have: an underscore for each character that it may not hold. */
static struct slice clean_key(struct store *store, size_t begin)
{
    size_t used = begin;
    for (size_t i = begin; i < store->used; i++) {
        unsigned char c = (unsigned char)store->bytes[i];
        bool letter = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
        bool other = (c >= '0' && c <= '9') || c == '.' || c == '-';
        if ((c & 0xc0) != 0x80) { /* a character, not what continues one */
            store->bytes[used++] = letter || (other && i > begin) ? (char)c : '_';
        }
    }
    store->used = used;
    return (struct slice){store->bytes + begin, used - begin};
}

static enum status too_long(struct error *error)
{
    error_set(error, STATUS_INVALID, "measurement, tags and field are too long for a series");
    return error_code(error, "bad_label", NULL);
}

enum status line_series(struct slice key, struct slice field, char text[SERIES_TEXT_MAX],
                        size_t *length, struct error *error)
{
    struct series_label labels[SERIES_LABELS_MAX];
    struct store store;
    size_t count = 0;
    const char *end = key.bytes + key.length;
    const char *at = scan_until(key.bytes, end, PART);
    struct slice part = {key.bytes, (size_t)(at - key.bytes)};
    store.used = 0;
    if (!unescape(&store, part, PART) || !unescape(&store, (struct slice){"_", 1}, 0) ||
        !unescape(&store, field, PART | EQUALS | QUOTE)) {
        return too_long(error);
    }
    struct slice name = {store.bytes, store.used};
    while (at < end) {
        if (count == SERIES_LABELS_MAX) {
            error_set(error, STATUS_INVALID, "a series has at most %d tags", SERIES_LABELS_MAX);
            return error_code(error, "too_many_labels", NULL);
        }
        const char *begin = at + 1, *equals = scan_until(begin, end, PART | EQUALS);
        size_t from = store.used;
        at = scan_until(equals + 1, end, PART | EQUALS);
        if (!unescape(&store, (struct slice){begin, (size_t)(equals - begin)}, PART | EQUALS)) {
            return too_long(error);
        }
        labels[count].key = clean_key(&store, from);
        from = store.used;
        if (!unescape(&store, (struct slice){equals + 1, (size_t)(at - equals - 1)},
                      PART | EQUALS)) {
            return too_long(error);
        }
        labels[count++].value = (struct slice){store.bytes + from, store.used - from};
    }
    if (series_name_write(name, labels, count, text, length, error) == STATUS_OK) {
        return STATUS_OK;
    }
    if (error->code && strcmp(error->code, "duplicate_label") == 0) {
        error_set(error, STATUS_INVALID, "duplicate tags");
        error_code(error, "duplicate_label", NULL);
    }
    return error->status;
}
