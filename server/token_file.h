/* The file of access tokens on disk: read, added to, taken from.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Changes are made to a copy that replaces the file, so a reader sees the old or the new one, never
 * a half. Two commands at once wait for each other. Comments and the order of lines are kept, and
 * so are owner and mode; a new file is its owner's alone.
 */
#ifndef SERVER_TOKEN_FILE_H
#define SERVER_TOKEN_FILE_H

#include "base/token.h"

/* STATUS_IO where it cannot be read, STATUS_INVALID where a line makes no sense or everybody may
 * write to the file; both name it. */
enum status token_file_read(const char *path, struct token_list *list,
                            struct error *error) MUST_USE;

/* Makes the file where it is missing. STATUS_CONFLICT where the name is taken. */
enum status token_file_add(const char *path, const struct token *token,
                           struct error *error) MUST_USE;

/* STATUS_NOT_FOUND where there is no token of that name. */
enum status token_file_remove(const char *path, const char *name, struct error *error) MUST_USE;

#endif
