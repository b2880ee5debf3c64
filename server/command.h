/* What the commands share: arguments, messages, the store opened by hand, progress.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2
 * usage.
 */
#ifndef SERVER_COMMAND_H
#define SERVER_COMMAND_H

#include "server/catalogue.h"
#include "server/config.h"

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* ---------------------------------------------------------------- the commands (main.c lists them)
 */

int command_serve(int argc, char **argv);
int command_import(int argc, char **argv);
int command_train(int argc, char **argv);
int command_forecast(int argc, char **argv);
int command_backtest(int argc, char **argv);
int command_backbones(int argc, char **argv);
int command_config(int argc, char **argv);
int command_export(int argc, char **argv);
int command_check(int argc, char **argv);
int command_backup(int argc, char **argv);
int command_restore(int argc, char **argv);
int command_token(int argc, char **argv);
int command_healthcheck(int argc, char **argv);

/* ---------------------------------------------------------------- arguments */

struct command_option {
    const char *name;  /* "seed", without dashes */
    const char *value; /* "N" in the help, or NULL for a flag */
    const char *help;
};

struct command_line {
    const char *command;  /* "backtest" */
    const char *synopsis; /* "FILE --horizon STEPS [options]" */
    const char *about;    /* one sentence */
    const struct command_option *options;
    size_t option_count;
    int argc; /* from the word behind the command */
    char **argv;
    const char *value; /* of the option, or the plain word */
    /* private */
    int next;
    bool plain_only;
};

enum { WORD_PLAIN = -1, WORD_END = -2, WORD_STOP = -3 };

/* The next word: the index of an option in the table, WORD_PLAIN, WORD_END, or WORD_STOP where
 * --help or --version was answered or a mistake was reported: then leave with command_exit. */
int command_next(struct command_line *line);
int command_exit(const struct command_line *line);

/* "forecastd: text", "Try 'forecastd NAME --help'"; returns EXIT_USAGE. */
int command_usage(const struct command_line *line, const char *format, ...) PRINTF_LIKE(2, 3);

/* "forecastd: text" and the hint; returns EXIT_FAILED. */
int command_fail(const struct error *error);

/* A number within bounds, or false after a message. */
bool command_integer(const struct command_line *line, const char *name, const char *value,
                     int64_t minimum, int64_t maximum, int64_t *out);

/* ---------------------------------------------------------------- configuration and store by hand
 */

/* Options that every command with a store has, to be put into its table: */
#define COMMAND_STORE_OPTIONS                                                                      \
    {"config", "FILE", "Read this configuration file; default: FORECASTD_CONFIG."},                \
        {"set", "KEY=VALUE", "Set one option of the configuration; may repeat."},                  \
    {                                                                                              \
        "data", "DIR", "Directory of the store; the same as --set storage.path=DIR."               \
    }

/* Where --data and --url are both given. */
#define COMMAND_ONE_PLACE "--data and --url exclude each other"

/* Takes one of them by name; false where `name` is another option or --set is full. */
bool command_source(struct config_sources *sources, const char *name, const char *value);

/* The same for the option that was read last: EXIT_DONE, or EXIT_USAGE after a message, where
 * --set has not the form of an assignment, too. */
int command_take_source(const struct command_line *line, struct config_sources *sources,
                        const char *name);

/* Everything that answers need, without threads of the daemon's own but the writer. */
struct command_store {
    struct config config;
    struct api_limits limits;
    struct storage *storage;
    struct writer *writer; /* NULL where read only */
    struct registry *registry;
    struct catalogue *catalogue;
    struct job_table *jobs;
    struct api_services services;
    bool services_ready;
    struct api_worker *worker;
};

/* CHANGE: of a store that is there; WRITE makes one where there is none. */
enum store_mode { STORE_READ, STORE_CHANGE, STORE_WRITE, STORE_MEMORY };

/* STATUS_CONFLICT where a daemon holds the directory: the hint says what to do. */
enum status command_store_open(struct command_store *store, const struct config_sources *sources,
                               enum store_mode mode, struct error *error) MUST_USE;
void command_store_close(struct command_store *store);

/* ---------------------------------------------------------------- progress, on standard error */

/* A bar on a terminal; elsewhere a line every ten seconds. */
struct progress {
    const char *label;
    int64_t begun_ns, shown_ns;
    bool terminal, drawn;
};
void progress_begin(struct progress *progress, const char *label);
void progress_show(struct progress *progress, double fraction, const char *note);
void progress_end(struct progress *progress);

/* A train_report whose context is a struct progress. */
void progress_report(void *context, const struct train_progress *train);

/* Reads a whole file ("-" is standard input), at most `maximum` bytes; free with mem_free. */
enum status command_read_file(const char *path, size_t maximum, char **bytes, size_t *length,
                              struct error *error) MUST_USE;

#endif
