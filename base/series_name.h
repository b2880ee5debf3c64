/* Names of series: canonical text name{key="value",...}, its reading and writing, and selectors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The canonical text is the identity of a series everywhere: in the store, in answers, in files. Keys
 * are sorted bytewise; a label with an empty value is the same as no label; without labels there are
 * no braces. In values \ " and newline are written \\ \" \n. A name that holds one of { } " \ , = or a
 * blank at an end is written in Prometheus 3's form {"the name",key="value"}, so that the text can
 * always be read back.
 *
 * Limits: name 1 to 512 bytes, at most 32 labels, key 1 to 64 bytes [a-zA-Z_][a-zA-Z0-9_.-]*, value
 * up to 256 bytes, whole text up to SERIES_TEXT_MAX. UTF-8 must be valid, without control characters.
 */
#ifndef BASE_SERIES_NAME_H
#define BASE_SERIES_NAME_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

#define SERIES_LABELS_MAX 32
#define SERIES_TEXT_MAX 4096

struct slice {
    const char *bytes;
    size_t length;
};

struct series_label {
    struct slice key;
    struct slice value;
};

/* Canonical text of a name and labels in any order, written to `out` (SERIES_TEXT_MAX bytes, no zero
 * byte needed); sorts `labels` in place. STATUS_INVALID names the fault (codes bad_series_name,
 * bad_label, duplicate_label, too_many_labels). Fast: called for each point of an ingest body. */
enum status series_name_write(struct slice name, struct series_label *labels, size_t label_count,
                              char out[SERIES_TEXT_MAX], size_t *length,
                              struct error *error) MUST_USE;

/* Canonical text from what a user typed: name, name{a="x"} or {"name",a="x"}, blanks allowed. */
enum status series_name_parse(const char *text, size_t length, char out[SERIES_TEXT_MAX],
                              size_t *out_length, struct error *error) MUST_USE;

/* Takes canonical text apart. Slices with escapes are unescaped into `scratch`. */
enum status series_name_split(const char *text, size_t length, char scratch[SERIES_TEXT_MAX],
                              struct slice *name, struct series_label labels[SERIES_LABELS_MAX],
                              size_t *label_count, struct error *error) MUST_USE;

/* A selector: name{a="x",b!="y",c=~"z.*",d!~"w"} or {a="x"}; matchers of a series' labels, the name
 * being __name__. Regular expressions are fully anchored and matched in linear time by an own
 * automaton (. * + ? | ( ) [ ] \ and literals); at most 256 bytes each. */
struct selector;
enum status selector_parse(const char *text, size_t length, struct selector **out,
                           struct error *error) MUST_USE;
void selector_free(struct selector *selector);
bool selector_matches(const struct selector *selector, const char *canonical, size_t length);

/* The canonical text where the selector can only mean one series (a name and = matchers only), as the
 * quick way in; false otherwise. */
bool selector_exact(const struct selector *selector, char out[SERIES_TEXT_MAX], size_t *length);

#endif
