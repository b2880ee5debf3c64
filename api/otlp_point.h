/* One data point of OpenTelemetry's metrics, of whatever kind, read from its message.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_OTLP_POINT_H
#define API_OTLP_POINT_H

#include "api/protobuf.h"

/* By the number of the field of Metric that holds the data. */
enum otlp_kind {
    OTLP_NOTHING = 0,
    OTLP_GAUGE = 5,
    OTLP_SUM = 7,
    OTLP_HISTOGRAM = 9,
    OTLP_EXPONENTIAL_HISTOGRAM = 10,
    OTLP_SUMMARY = 11
};

static inline bool otlp_is_kind(uint32_t number)
{
    return number == OTLP_GAUGE || number == OTLP_SUM ||
           (number >= OTLP_HISTOGRAM && number <= OTLP_SUMMARY);
}

struct otlp_point {
    struct slice message;
    uint32_t attributes; /* the number of the fields that hold them */
    uint64_t time_ns;    /* 0: it has none */
    double value;        /* of gauges and sums */
    bool has_value;
    bool no_value; /* flagged: nothing was recorded */
    uint64_t count;
    double sum;
    bool has_sum;
};

/* False: the message is damaged. Of exponential histograms only the attributes are looked at. */
bool otlp_point_read(struct slice message, enum otlp_kind kind, struct otlp_point *point);

/* One quantile of a summary; the text is that of its label. */
struct otlp_quantile {
    char text[32];
    double value;
};

/* The next one of a data point that was read before; `message` walks over it. */
bool otlp_quantile_next(struct protobuf *message, struct otlp_quantile *quantile);

#endif
