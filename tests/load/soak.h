/* Samples of a running daemon for the soak: memory, descriptors, write-ahead log; and their slope.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LOAD_SOAK_H
#define LOAD_SOAK_H

#include "tests/bench/load.h"

#include <stddef.h>

#define SOAK_SAMPLES_MAX 4096

struct soak_sample {
    double second, memory_mb, descriptors, wal_mb;
};

struct soak_samples {
    struct soak_sample all[SOAK_SAMPLES_MAX];
    size_t count;
};

/* Looks at the process and at the write-ahead log in its folder. Descriptors are counted without
 * the `connections` that the caller itself holds open. */
void soak_look(struct soak_samples *samples, double second, const struct bench_daemon *daemon,
               const char *folder, size_t connections);

/* Growth of memory, MB an hour, by least squares over the least of each whole minute from second
 * `from` to `until`: a training comes and goes within a minute, and what stays is what may leak.
 * The allocator makes these minutes differ by some megabytes, hence the standard error. */
struct soak_slope {
    double mb_hour, standard_error;
};
struct soak_slope soak_slope(const struct soak_samples *samples, double from, double until);

/* The largest of one column (0 memory, 1 descriptors, 2 log) from second `from` to `until`. */
double soak_largest(const struct soak_samples *samples, int column, double from, double until);

#endif
