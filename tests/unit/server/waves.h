/* A small store on disk with two hourly series of waves, its catalogue, and models of few steps.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One store a program. What is opened again finds on disk what was there.
 */
#ifndef TESTS_UNIT_SERVER_WAVES_H
#define TESTS_UNIT_SERVER_WAVES_H

#include "server/scheduler.h"

#define HOUR_MS INT64_C(3600000)
#define POINTS  1000 /* of each series */

extern char models[64]; /* the folder of model files */
extern struct api_services services;
extern struct catalogue *catalogue;

/* Of a group of tests. */
int waves_prepare(void **state);
int waves_clean_up(void **state);

/* As a daemon that ends and starts again. */
void waves_close(void);
void waves_open(void);

/* With the files in it; what is not there is no fault. */
void remove_folder(const char *path);

/* Files in the models' folder whose names end so. */
size_t count_files(const char *suffix);

/* Who serves; "" where nobody does. */
const char *champion_id(char id[48]);

/* A model of two steps; the caller releases it. `admit` makes and stores one, promoted or not. */
struct snapshot *train_small(uint64_t seed);
void admit(uint64_t seed, bool promote, char id[48]);

/* The record of a model in the store; "" where there is none. */
struct waves_record {
    char json[8192];
};
void find_record(const char *id, struct waves_record *record);

/* Fails unless the record has this part. */
void expect_record(const char *id, const char *part);

#endif
