/* Streaming reader of Prometheus' remote-write messages, 1.0 and 2.0: no tree, no object a label.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Messages (unpacked protobuf)
 *   1.0  prometheus.WriteRequest: series with labels in place. The bytes of a series' labels are
 * its identity in the cache of names: what was sent before costs one comparison. 2.0
 * io.prometheus.write.v2.Request: a table of symbols, series with references into it. The one
 *        allocation of a reading is the index of that table, 8 bytes a symbol, made before the
 *        series are read, because fields may come in any order.
 *
 * Values: the stale marker, one NaN among many, ends a series; any other NaN means missing;
 * infinities are refused. Labels may come in any order, each once; __name__ becomes the name.
 * Metadata says what a family of metrics is: in 1.0 in messages of their own, in 2.0 with each
 * series. Exemplars are skipped, and the native histograms of 1.0. In 2.0 a histogram is
 * refused like a bad sample, because there the sender must be told what was not stored.
 *
 * A message that is no such protobuf is unreadable (STATUS_INVALID, bad_protobuf): the caller then
 * stores nothing. What is wrong with a series or a sample is told to `refuse`, and the reading goes
 * on. Positions count samples (and the histograms of 2.0) from 0.
 */
#ifndef API_REMOTE_WRITE_READER_H
#define API_REMOTE_WRITE_READER_H

#include "api/points_reader.h"
#include "base/series_name.h"

enum remote_write_version { REMOTE_WRITE_1, REMOTE_WRITE_2 };

/* By the type of a body: "application/x-protobuf", its parameter "proto" naming the message
 * (without it, and without a type at all, 1.0). False: another type or message. */
bool remote_write_version(const char *content_type, enum remote_write_version *version);

struct remote_write {
    struct slice message;
    enum remote_write_version version;
    struct points_cache *cache; /* may be NULL */
};

/* What was passed over. */
struct remote_write_skipped {
    uint64_t histograms, exemplars;
};

enum status remote_write_read(const struct remote_write *request,
                              const struct points_visitor *visitor,
                              struct remote_write_skipped *skipped, struct error *error) MUST_USE;

#endif
