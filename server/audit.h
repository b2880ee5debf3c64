/* What administrators do, a line each: who, from where, what, and how it ended.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     time=... event=admin who=ops address=10.0.0.7 method=POST target="/api/v1/train" result=202
 * request_id=...
 *
 * logfmt, to a file of its own; without one to standard error among the other lines, in their form
 * (log.format), JSON with module "audit" among them. Unlike
 * those it is never limited in rate; refused attempts go to the ordinary log instead, which is, so
 * that a stranger cannot fill the file. Any thread; one write a line.
 */
#ifndef SERVER_AUDIT_H
#define SERVER_AUDIT_H

#include "api/api.h"

struct audit;
struct sockaddr;

/* `path` empty: standard error. STATUS_IO names the file. */
enum status audit_open(const char *path, struct audit **out, struct error *error) MUST_USE;
void audit_close(struct audit *audit); /* NULL is fine */

/* Opens the file anew, after it was moved away; goes on with the old one where that fails. */
enum status audit_reopen(struct audit *audit, struct error *error) MUST_USE;

/* A request that ended with `status`; `peer` is who was connected, NULL where nobody knows. */
void audit_request(struct audit *audit, const struct api_request *request, int status,
                   const struct sockaddr *peer);

/* One that nobody was let in with: 401, 403, or a head that was not looked at any further. */
void audit_refusal(const struct api_request *request, int status, const struct sockaddr *peer);

/* Something that the daemon itself did at an administrator's word: "reload", "configuration read
 * again". */
void audit_event(struct audit *audit, const char *event, const char *result);

#endif
