/* Who asks, and what the route wants: tokens checked when the head is there, and once more before a
 * handler. SPDX-License-Identifier: Apache-2.0
 *
 * Without a table of tokens (services->access NULL) everybody may do everything; the server then
 * listens on loopback only, or was told not to care. With one, every route but the open ones wants
 * a token, on loopback too: a browser or a proxy on this machine brings strangers along.
 *
 * A token comes as `Authorization: Bearer T`. On the routes of InfluxDB also as its clients send
 * it: `Authorization: Token T`, as the password of Basic, or as the parameter p beside u. Nowhere
 * else: browsers repeat Basic credentials by themselves, also for pages that are not ours.
 */
#ifndef API_ACCESS_H
#define API_ACCESS_H

#include "api/router.h"

/* Fills in request->caller. STATUS_INVALID with the codes unauthorized (no token, or none that
 * holds) and forbidden (its scope or prefix is not enough). */
enum status access_check(struct api_services *services, const struct route *route,
                         struct api_request *request, struct error *error) MUST_USE;

/* The same question once the caller is known: no handler runs without it. */
bool access_granted(const struct api_services *services, const struct route *route,
                    const struct api_request *request);

#endif
