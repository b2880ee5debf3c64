/* The standard process_* metrics from /proc.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_PROCESS_H
#define API_PROCESS_H

#include "base/text.h"

/* What cannot be read is left out. */
void process_write(bool openmetrics, struct text *text);

#endif
