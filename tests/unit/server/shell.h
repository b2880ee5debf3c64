/* Runs our commands as a shell would: in a child process, with its output in files.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_SERVER_SHELL_H
#define TESTS_SERVER_SHELL_H

#include <stddef.h>

/* Large: make it static. */
struct shell {
    const char *folder; /* where the output goes; the caller makes and removes it */
    const char *to;     /* standard output goes there instead; NULL: into the folder */
    char out[1 << 20], err[1 << 16];
};

/* Runs the command with words up to NULL, the first after its name; returns the exit code and fills
 * out and err. */
int shell_run(struct shell *shell, int (*command)(int argc, char **argv), ...);

/* A file of the folder as text. */
void shell_read(const struct shell *shell, const char *name, char *text, size_t capacity);

#endif
