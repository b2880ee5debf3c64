/* Golden vectors: every .safetensors file of a folder, forward and backward, a line a file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The folder is the first argument, or the environment's GOLDEN, or tests/golden/data. A file whose
 * mechanism, unit or option is unknown counts as failed. The closing lines are those of cmocka, so
 * that tests/run.sh counts them.
 */
#include "tests/golden/vectors.h"

#include "base/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_FOLDER "tests/golden/data"

static const struct {
    const char *mechanism;
    bool (*run)(struct vectors *vectors, struct tape *tape);
} mechanisms[] = {
    {"logsparse_conv", golden_logsparse},
    {"linformer", golden_linformer},
    {"adaptive_span", golden_adaptive_span},
    {"longformer", golden_longformer},
    {"reformer", golden_reformer},
    {"transformer_xl", golden_transformer_xl},
    {"conformer", golden_conformer},
    {"lite_transformer", golden_lite_transformer},
    {"common", golden_common},
    {"performer", golden_performer},
};

static bool run_mechanism(struct vectors *vectors, struct tape *tape)
{
    const char *wanted = vectors_text(vectors, "mechanism", "");
    for (size_t i = 0; i < ARRAY_COUNT(mechanisms); i++) {
        if (strcmp(mechanisms[i].mechanism, wanted) == 0) {
            return mechanisms[i].run(vectors, tape) && vectors_complete(vectors);
        }
    }
    return vectors_fail(vectors, "unknown mechanism \"%s\"", wanted);
}

static bool run_file(const char *folder, const char *file)
{
    static struct vectors vectors;
    struct error error = {0};
    struct tape tape = {0};
    char path[4096];
    char name[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, file);
    (void)snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(".safetensors")), file);
    printf("[ RUN      ] %s\n", name);
    bool good = false;
    if (vectors_read(path, &vectors, &error) != STATUS_OK) {
        printf("%s\n", error.text);
    } else if (vectors_tape(&vectors, &tape, &error) != STATUS_OK) {
        printf("%s\n", error.text);
    } else {
        good = run_mechanism(&vectors, &tape);
    }
    if (good) {
        printf("[       OK ] %-40s %3zu comparisons, worst %.2f of what is allowed\n", name,
               vectors.compared, vectors.worst);
    } else {
        printf("%s: %s\n[  FAILED  ] %s\n", name, vectors.problem, name);
    }
    tape_release(&tape);
    vectors_release(&vectors);
    return good;
}

static int is_vectors(const struct dirent *entry)
{
    const char *end = strrchr(entry->d_name, '.');
    return end != NULL && strcmp(end, ".safetensors") == 0;
}

int main(int argc, char **argv)
{
    const char *given = argc > 1 ? argv[1] : getenv("GOLDEN");
    const char *folder = given != NULL && given[0] != '\0' ? given : DEFAULT_FOLDER;
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_vectors, alphasort);
    if (count <= 0) {
        printf("no .safetensors file in \"%s\"\n[  FAILED  ] golden\n", folder);
        return 1;
    }
    int failed = 0;
    for (int i = 0; i < count; i++) {
        failed += !run_file(folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    printf("[==========] %d file(s) run, %d failed.\n", count, failed);
    return failed != 0;
}
