/* The catalogue of models: snapshot files, their records in the store, and the registry, in step.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Files lie in DIRECTORY/<id>.safetensors. A record (kind "model", key id; model_entry.h) names
 * each and says where it stands: champion, previous, retired, kept_back, corrupt or newer. Order
 * of a publication: file written, synced, verified and renamed; then all records that change, in
 * one transaction; then the registry. So after a crash there is at most a file that no record
 * names, never a record without its file.
 *
 * Threads: any; changes wait for each other (a ticket, no lock is held during I/O). Never on the
 * writer or HTTP thread.
 */
#ifndef SERVER_CATALOGUE_H
#define SERVER_CATALOGUE_H

#include "api/api.h"

struct catalogue;

/* Reads the records and publishes what serves: previous, then champion of each group. A file that
 * fails its check is renamed to *.corrupt, its record says so, and the previous one serves. So it
 * does where the file is whole but of a newer release; that one keeps its name and is looked at
 * anew by every start, and never removed. A release that reads it lets it serve again, unless a
 * training or a person has chosen another champion meanwhile: then it is the previous one, or
 * retired where there is one. `writer` NULL: read only, nothing is changed. */
enum status catalogue_open(struct storage *storage, struct writer *writer,
                           struct registry *registry, const char *directory, struct catalogue **out,
                           struct error *error) MUST_USE;
void catalogue_close(struct catalogue *catalogue); /* NULL is fine */

/* Takes in a trained snapshot with the gate's verdict: named, saved, recorded; published where the
 * gate said so, else kept for inspection. Old files and records beyond a few a group are removed.
 * `id` gets the name. The caller keeps its reference. */
enum status catalogue_admit(struct catalogue *catalogue, struct snapshot *snapshot,
                            const struct gate_result *gate, char id[48],
                            struct error *error) MUST_USE;

/* Hooks of api_services. */
enum status catalogue_promote(struct catalogue *catalogue, const char *id,
                              struct error *error) MUST_USE;
enum status catalogue_rollback(struct catalogue *catalogue, int64_t step_ms,
                               struct error *error) MUST_USE;

/* Live regret (api_regret): the champion goes back to the previous one or gives way to the
 * baselines; record and log say why. STATUS_CONFLICT where another one serves by now. What was
 * rolled back never comes back by itself, so this cannot swing. */
enum status catalogue_regret(struct catalogue *catalogue, int64_t step_ms,
                             const struct regret_verdict *verdict, struct error *error) MUST_USE;

/* How many models there are, and how many groups have a champion. */
void catalogue_counts(struct catalogue *catalogue, size_t *models, size_t *champions);

/* How many files failed their check and were set aside since the start. */
uint64_t catalogue_damaged(struct catalogue *catalogue);

/* Verifies the file of every record against its SHA-256, for `forecastd check`; a line to `report`
 * for each finding. Nothing is changed. */
enum status catalogue_check(struct storage *storage, const char *directory, storage_report report,
                            void *context, size_t *checked, struct error *error) MUST_USE;

#endif
