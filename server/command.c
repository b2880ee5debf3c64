/* Arguments and messages of the commands, files read whole, and the progress bar.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 30
#define DRAW_NS   INT64_C(100000000)
#define LINE_NS   INT64_C(10000000000)

/* ---------------------------------------------------------------- arguments */

static void print_help(const struct command_line *line)
{
    printf("Usage: forecastd %s %s\n\n%s\n\nOptions:\n", line->command, line->synopsis,
           line->about);
    for (size_t i = 0; i < line->option_count; i++) {
        char left[48];
        const struct command_option *option = &line->options[i];
        snprintf(left, sizeof(left), "--%s%s%s", option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        printf("  %-24s %s\n", left, option->help);
    }
    printf("  %-24s %s\n  %-24s %s\n", "--help", "Print this and leave.", "--version",
           "Print the version and leave.");
}

int command_usage(const struct command_line *line, const char *format, ...)
{
    va_list list;
    fputs("forecastd: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nTry 'forecastd %s --help' for more information.\n", line->command);
    return EXIT_USAGE;
}

static int stop(struct command_line *line)
{
    line->next = line->argc;
    return WORD_STOP;
}

int command_next(struct command_line *line)
{
    if (line->next >= line->argc) {
        return WORD_END;
    }
    const char *word = line->argv[line->next++];
    if (line->plain_only || word[0] != '-' || word[1] == '\0') {
        line->value = word;
        return WORD_PLAIN;
    }
    if (strcmp(word, "--") == 0) {
        line->plain_only = true;
        return command_next(line);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_help(line);
        line->value = NULL;
        return stop(line);
    }
    if (strcmp(word, "--version") == 0) {
        printf("forecastd %s\n", FORECASTD_VERSION);
        line->value = NULL;
        return stop(line);
    }
    size_t length = strcspn(word, "=");
    for (size_t i = 0; i < line->option_count; i++) {
        const struct command_option *option = &line->options[i];
        if (strncmp(word, "--", 2) != 0 || strlen(option->name) != length - 2 ||
            strncmp(word + 2, option->name, length - 2) != 0) {
            continue;
        }
        line->value = word[length] == '=' ? word + length + 1 : NULL;
        if (option->value == NULL && line->value != NULL) {
            command_usage(line, "option '--%s' does not take a value", option->name);
            return stop(line); /* value is not NULL: a mistake */
        }
        if (option->value != NULL && line->value == NULL) {
            if (line->next == line->argc) {
                command_usage(line, "option '--%s' needs a value", option->name);
                line->value = "";
                return stop(line);
            }
            line->value = line->argv[line->next++];
        }
        return (int)i;
    }
    command_usage(line, "unknown option '%.*s'", (int)length, word);
    line->value = "";
    return stop(line);
}

int command_exit(const struct command_line *line)
{
    if (line->value != NULL) {
        return EXIT_USAGE;
    }
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

int command_fail(const struct error *error)
{
    fprintf(stderr, "forecastd: %s\n", error->text);
    if (error->hint[0] != '\0') {
        fprintf(stderr, "%s\n", error->hint);
    }
    return EXIT_FAILED;
}

bool command_integer(const struct command_line *line, const char *name, const char *value,
                     int64_t minimum, int64_t maximum, int64_t *out)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || number < minimum || number > maximum) {
        command_usage(line, "option '--%s' is '%s', but must be a whole number from %lld to %lld",
                      name, value, (long long)minimum, (long long)maximum);
        return false;
    }
    *out = number;
    return true;
}

/* ---------------------------------------------------------------- files */

enum status command_read_file(const char *path, size_t maximum, char **bytes, size_t *length,
                              struct error *error)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    enum status status = STATUS_OK;
    size_t used = 0, capacity = 0;
    char *block = NULL;
    if (fd < 0) {
        return error_set(error, STATUS_IO, "could not open '%s': %s", path, strerror(errno));
    }
    for (;;) {
        if (used == capacity) {
            capacity = capacity > 0 ? capacity * 2 : (size_t)1 << 16;
            char *bigger = capacity <= maximum ? mem_resize(block, capacity, 1) : NULL;
            if (bigger == NULL) {
                status = error_set(error, STATUS_TOO_LARGE, "cannot read '%s': more than %zu bytes",
                                   path, maximum);
                break;
            }
            block = bigger;
        }
        ssize_t got = read(fd, block + used, capacity - used);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            status = error_set(error, STATUS_IO, "could not read '%s': %s", path, strerror(errno));
        }
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
    }
    if (!standard) {
        close(fd);
    }
    if (status != STATUS_OK) {
        mem_free(block);
        return status;
    }
    *bytes = block;
    *length = used;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- progress */

void progress_begin(struct progress *progress, const char *label)
{
    *progress = (struct progress){
        .label = label, .begun_ns = clock_monotonic_ns(), .terminal = isatty(STDERR_FILENO) == 1};
    progress->shown_ns = progress->begun_ns;
}

void progress_show(struct progress *progress, double fraction, const char *note)
{
    int64_t now_ns = clock_monotonic_ns();
    if (now_ns - progress->shown_ns < (progress->terminal ? DRAW_NS : LINE_NS)) {
        return;
    }
    progress->shown_ns = now_ns;
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    if (!progress->terminal) {
        fprintf(stderr, "%s: %3.0f %%  %s\n", progress->label, 100 * fraction, note);
        return;
    }
    char bar[BAR_WIDTH + 1];
    int full = (int)(fraction * BAR_WIDTH + 0.5);
    for (int i = 0; i < BAR_WIDTH; i++) {
        bar[i] = i < full ? '#' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r%s [%s] %3.0f %%  %s\033[K", progress->label, bar, 100 * fraction, note);
    progress->drawn = true;
}

void progress_end(struct progress *progress)
{
    if (progress->drawn) {
        fputs("\r\033[K", stderr);
        progress->drawn = false;
    }
}

void progress_report(void *context, const struct train_progress *train)
{
    char note[160], loss[32] = "";
    if (!isnan(train->loss)) {
        snprintf(loss, sizeof(loss), "  loss %.4f", train->loss);
    }
    snprintf(note, sizeof(note), "%s  step %llu%s  %.0f s left",
             train->phase != NULL ? train->phase : "", (unsigned long long)train->step, loss,
             train->seconds_left > 0 ? train->seconds_left : 0.0);
    progress_show(context, train->fraction, note);
}
