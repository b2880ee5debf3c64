/* Samples of a running daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/load/soak.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static size_t descriptors_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    size_t count = 0;
    DIR *folder = opendir(path);
    if (folder != NULL) {
        while (readdir(folder) != NULL) {
            count++;
        }
        closedir(folder);
    }
    return count;
}

static double wal_mb(const char *path)
{
    double bytes = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char name[600];
        struct stat status;
        size_t length = strlen(entry->d_name);
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, "-wal") == 0 &&
            stat(name, &status) == 0) {
            bytes += (double)status.st_size;
        }
    }
    closedir(folder);
    return bytes / 1e6;
}

void soak_look(struct soak_samples *samples, double second, const struct bench_daemon *daemon,
               const char *folder, size_t connections)
{
    if (samples->count < SOAK_SAMPLES_MAX) {
        samples->all[samples->count++] = (struct soak_sample){
            .second = second,
            .memory_mb = bench_resident_mb(daemon->pid, 0),
            .descriptors = (double)descriptors_of(daemon->pid) - (double)connections,
            .wal_mb = wal_mb(folder)};
    }
}

/* Of the minute that begins at `from`; 0 where nothing was seen. */
static double least_memory(const struct soak_samples *samples, double from)
{
    double least = 0;
    for (size_t i = 0; i < samples->count; i++) {
        const struct soak_sample *sample = &samples->all[i];
        if (sample->second >= from && sample->second < from + 60 &&
            (sample->memory_mb < least || least <= 0)) {
            least = sample->memory_mb;
        }
    }
    return least;
}

struct soak_slope soak_slope(const struct soak_samples *samples, double from, double until)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;
    for (double minute = from; minute + 60 <= until; minute += 60) {
        double memory_mb = least_memory(samples, minute);
        if (memory_mb > 0) {
            double hour = minute / 3600;
            n += 1;
            x += hour;
            y += memory_mb;
            xx += hour * hour;
            xy += hour * memory_mb;
            yy += memory_mb * memory_mb;
        }
    }
    double spread = xx - x * x / n;
    if (n < 3 || !(spread > 0)) {
        return (struct soak_slope){0};
    }
    double slope = (xy - x * y / n) / spread;
    double rest = yy - y * y / n - slope * slope * spread;
    return (struct soak_slope){slope, sqrt(fmax(rest, 0) / (n - 2) / spread)};
}

double soak_largest(const struct soak_samples *samples, int column, double from, double until)
{
    double largest = 0;
    for (size_t i = 0; i < samples->count; i++) {
        const struct soak_sample *sample = &samples->all[i];
        double value = column == 0   ? sample->memory_mb
                       : column == 1 ? sample->descriptors
                                     : sample->wal_mb;
        if (sample->second >= from && sample->second <= until && value > largest) {
            largest = value;
        }
    }
    return largest;
}
