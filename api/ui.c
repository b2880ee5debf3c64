/* The page and the description of the routes: files that come from the program itself, looked up by
 * exact name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They are compressed at build time and sent like that to who accepts gzip; for others they are
 * unpacked. A browser that has a file asks with its tag in If-None-Match and is told 304.
 */
#include "api/handlers.h"
#include "api/inflate.h"
#include "api/ui_assets.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

/* Nothing from elsewhere, nothing inline, no frames around it. */
#define POLICY                                                                                     \
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src " \
    "'none'"

#define PLAIN_BYTES_MAX ((size_t)1 << 20)

static const struct ui_asset *find_asset(const char *path)
{
    size_t count = 0;
    const struct ui_asset *assets = ui_assets(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(assets[i].path, path) == 0) {
            return &assets[i];
        }
    }
    return NULL;
}

/* Whether the list of If-None-Match has the tag. */
static bool is_known(const char *tags, const char *tag)
{
    return tags && strstr(tags, tag) != NULL;
}

/* The body as the client takes it. */
static enum status fill_body(struct call *call, const struct ui_asset *asset, struct error *error)
{
    struct api_response *response = call->response;
    size_t length = (size_t)(asset->packed_end - asset->packed);
    if (call->request->accept_gzip) {
        response_header(response, "Content-Encoding", "gzip");
        response->body = (char *)(uintptr_t)asset->packed;
        response->body_length = length;
        response->body_static = true;
        return STATUS_OK;
    }
    return inflate_gzip(asset->packed, length, PLAIN_BYTES_MAX, &response->body,
                        &response->body_length, error);
}

enum status ui_fast(struct call *call, struct error *error)
{
    const struct ui_asset *asset = find_asset(call->request->path);
    struct api_response *response = call->response;
    if (!asset) {
        error_set(error, STATUS_NOT_FOUND, "the page has no such file");
        return error_code(error, "unknown_route", NULL);
    }
    char tag[40];
    size_t length = (size_t)(asset->packed_end - asset->packed);
    snprintf(tag, sizeof(tag), "\"%08x%s\"", hash_crc32c(0, asset->packed, length),
             call->request->accept_gzip ? "-gzip" : "");
    bool known = is_known(call->request->if_none_match, tag);
    if (!known && fill_body(call, asset, error) != STATUS_OK) {
        return error->status;
    }
    response->status = known ? 304 : 200;
    response->content_type = asset->content_type;
    response_header(response, "Content-Security-Policy", POLICY);
    response_header(response, "Referrer-Policy", "no-referrer");
    response_header(response, "Cache-Control", "no-cache");
    response_header(response, "Vary", "Accept-Encoding");
    response_header(response, "ETag", "%s", tag);
    return STATUS_OK;
}
