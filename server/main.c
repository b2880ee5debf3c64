/* The program: finds the command and runs it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"serve", command_serve, "Run the daemon."},
    {"import", command_import, "Store the points of CSV files."},
    {"train", command_train, "Train now, judge the result and publish it."},
    {"forecast", command_forecast, "Print the forecast of a series."},
    {"backtest", command_backtest, "Train on a file alone and evaluate, without a daemon."},
    {"backbones", command_backbones, "List the networks with their options."},
    {"config", command_config, "Print or check the configuration."},
    {"export", command_export, "Print stored points as CSV."},
    {"check", command_check, "Verify the store and the models, read only."},
    {"backup", command_backup, "Copy store and models into one verified file, while it runs."},
    {"restore", command_restore, "Make a store of a backup, in an empty directory."},
    {"token", command_token, "Make, list and revoke access tokens."},
    {"healthcheck", command_healthcheck, "Ask a daemon whether it is well, for containers."},
};

static void print_usage(FILE *out)
{
    fputs("Usage: forecastd COMMAND [ARGUMENT]...\n\n"
          "Keeps readings of sensors and forecasts them.\n\nCommands:\n",
          out);
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].about);
    }
    fputs("\n'forecastd COMMAND --help' says more about a command.\n", out);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_usage(stdout);
        return EXIT_DONE;
    }
    if (strcmp(word, "--version") == 0) {
        printf("forecastd %s\n", FORECASTD_VERSION);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (strcmp(word, commands[i].name) == 0) {
            return commands[i].run(argc - 2, argv + 2);
        }
    }
    fprintf(stderr, "forecastd: unknown %s '%s'\nTry 'forecastd --help' for more information.\n",
            word[0] == '-' ? "option" : "command", word);
    return EXIT_USAGE;
}
