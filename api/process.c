/* The standard process_* metrics from /proc.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void add(struct text *text, bool openmetrics, const char *name, bool counter,
                const char *help, double value)
{
    const char *suffix = counter ? "_total" : "";
    const char *head = openmetrics ? "" : suffix;
    text_add_format(text, "# HELP %s%s %s\n# TYPE %s%s %s\n%s%s ", name, head, help, name, head,
                    counter ? "counter" : "gauge", name, suffix);
    text_add_double(text, value);
    text_add_char(text, '\n');
}

/* Numbers of /proc/self/stat behind the name, which may hold blanks: field 3 is the first. */
static bool read_stat(double fields[22])
{
    char line[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (!file) {
        return false;
    }
    char *got = fgets(line, sizeof(line), file);
    fclose(file);
    char *at = got ? strrchr(line, ')') : NULL;
    if (!at || strlen(at) < 4) {
        return false;
    }
    at += 3; /* ") S": the state is no number */
    for (int i = 0; i < 21; i++) {
        fields[i + 1] = strtod(at, &at);
    }
    return true;
}

static double boot_seconds(void)
{
    char line[256];
    double seconds = 0.0;
    FILE *file = fopen("/proc/stat", "re");
    if (!file) {
        return 0.0;
    }
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, "btime ", 6) == 0) {
            seconds = strtod(line + 6, NULL);
        }
    }
    fclose(file);
    return seconds;
}

static double open_files(void)
{
    double count = -3.0; /* the two dots and the folder itself */
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) {
        return 0.0;
    }
    while (readdir(folder)) {
        count += 1.0;
    }
    closedir(folder);
    return count;
}

void process_write(bool openmetrics, struct text *text)
{
    double fields[22];
    struct rlimit limit;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    if (read_stat(fields)) { /* field n of the manual is fields[n - 3] */
        add(text, openmetrics, "process_cpu_seconds", true, "Processor time used.",
            (fields[11] + fields[12]) / ticks);
        add(text, openmetrics, "process_threads", false, "Threads.", fields[17]);
        add(text, openmetrics, "process_start_time_seconds", false, "Start, seconds since 1970.",
            boot_seconds() + fields[19] / ticks);
        add(text, openmetrics, "process_virtual_memory_bytes", false, "Virtual memory.",
            fields[20]);
        add(text, openmetrics, "process_resident_memory_bytes", false, "Resident memory.",
            fields[21] * (double)sysconf(_SC_PAGESIZE));
    }
    add(text, openmetrics, "process_open_fds", false, "Open file descriptors.", open_files());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        add(text, openmetrics, "process_max_fds", false, "Limit of open file descriptors.",
            (double)limit.rlim_cur);
    }
}
