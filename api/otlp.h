/* Answers of OTLP's route to what went wrong: google.rpc.Status, in the form of the request.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_OTLP_H
#define API_OTLP_H

#include "base/text.h"

#include <stdbool.h>

/* Whether errors on this path have OTLP's form. */
bool otlp_owns(const char *path);

enum otlp_encoding { OTLP_PROTOBUF, OTLP_JSON };

/* By the type of a body; false where it is neither. */
bool otlp_encoding_of(const char *content_type, enum otlp_encoding *encoding);

/* The type of an answer; a static string. */
const char *otlp_content_type(enum otlp_encoding encoding);

/* What an HTTP code means in gRPC's numbers, and a message. */
void otlp_write_error(enum otlp_encoding encoding, int http, const char *message,
                      struct text *text);

#endif
