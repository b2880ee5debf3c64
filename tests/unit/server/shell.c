/* Commands in a child process; see shell.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/server/shell.h"

#include "tests/watched.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#define WORDS_MAX 64

void shell_read(const struct shell *shell, const char *name, char *text, size_t capacity)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/%s", shell->folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t length = fread(text, 1, capacity - 1, file);
    text[length] = '\0';
    fclose(file);
}

static void redirect(const struct shell *shell, const char *name, int fd)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/%s", shell->folder, name);
    int file = open(fd == STDOUT_FILENO && shell->to != NULL ? shell->to : path,
                    O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (file < 0 || dup2(file, fd) != fd) {
        watched_exit(99);
    }
}

int shell_run(struct shell *shell, int (*command)(int argc, char **argv), ...)
{
    char *words[WORDS_MAX] = {0};
    int count = 0;
    va_list list;
    va_start(list, command);
    for (const char *word; (word = va_arg(list, const char *)) != NULL && count < WORDS_MAX - 1;) {
        words[count++] = strdup(word);
    }
    va_end(list);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        redirect(shell, "out", STDOUT_FILENO);
        redirect(shell, "err", STDERR_FILENO);
        int code = command(count, words);
        fflush(stdout);
        watched_exit(code);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    for (int i = 0; i < count; i++) {
        free(words[i]);
    }
    assert_true(WIFEXITED(status));
    shell_read(shell, "out", shell->out, sizeof(shell->out));
    shell_read(shell, "err", shell->err, sizeof(shell->err));
    return WEXITSTATUS(status);
}
