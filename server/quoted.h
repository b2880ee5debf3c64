/* Text of errors and of strangers as a quoted value of a log line.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     log_error("http", "port not opened", "reason=%s", QUOTED(error.text));
 *
 * The quoted text lives until the end of the enclosing block.
 */
#ifndef SERVER_QUOTED_H
#define SERVER_QUOTED_H

#include "base/log.h"

#include <string.h>

#define QUOTED_BYTES 700
#define QUOTED(text) log_quote((text), strlen(text), (char[QUOTED_BYTES]){0}, QUOTED_BYTES)

#endif
