/* Runs a fuzz harness over its kept corpus, without a fuzzer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: replay_NAME     from the root of the tree: every file of tests/fuzz/corpus/NAME
 *
 * A harness aborts where an oracle disagrees, as it does in the fuzzer.
 */
#include "tests/watched.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A block of exactly its size, so that a read beyond it is seen by whoever watches. */
static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        return 1;
    }
    long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    int failed = data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size;
    fclose(file);
    if (!failed) {
        LLVMFuzzerTestOneInput(data, (size_t)size);
    }
    free(data);
    return failed;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    char folder[256], path[600];
    unsigned count = 0, failed = 0;
    const char *name = strstr(slash == NULL ? argv[0] : slash, "replay_");
    if (argc != 1 || name == NULL) {
        return 2;
    }
    snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name + strlen("replay_"));
    DIR *corpus = opendir(folder);
    for (struct dirent *entry; corpus != NULL && (entry = readdir(corpus)) != NULL;) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            count++;
            failed += (unsigned)replay(path);
        }
    }
    if (corpus != NULL) {
        closedir(corpus);
    }
    printf("%s %s: %u inputs\n", failed || count == 0 ? "" : "[       OK ]", folder, count);
    return failed > 0 || count == 0;
}
