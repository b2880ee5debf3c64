/* What InfluxDB's clients expect besides writing: their errors, headers, probes and first
 * questions. SPDX-License-Identifier: Apache-2.0
 *
 * There are no databases or buckets here: whatever name a client gives is accepted, and all points
 * go to the one store. Readings are read back through /api/v1.
 */
#ifndef API_INFLUX_H
#define API_INFLUX_H

#include "api/api.h"

/* InfluxQL's and the clients' own; most of them make no difference here. */
#define INFLUX_QUERY_PARAMETERS "q db rp epoch chunked chunk_size pretty params u p"

/* The version whose protocol is spoken, as clients ask for it. */
#define INFLUX_VERSION "1.8.0"

/* Whether errors of this path have InfluxDB's form. */
bool influx_owns(const char *path);

/* {"error"}, and for version 2 beside it {"code","message"}. */
void influx_write_error(const char *path, int http, const char *message, struct text *text);

/* X-Influxdb-Version and X-Influxdb-Build. */
void influx_headers(struct api_response *response);

#endif
