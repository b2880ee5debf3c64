/* The page: its files come from the program itself, looked up by exact name.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/ui_assets.h"

#include "base/hash.h"

#include <string.h>

/* Nothing from elsewhere, nothing inline, no frames around it. */
#define POLICY                                                                                     \
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src " \
    "'none'"

enum status ui_fast(struct call *call, struct error *error)
{
    size_t count = 0;
    const struct ui_asset *assets = ui_assets(&count);
    struct api_response *response = call->response;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(assets[i].path, call->request->path) == 0) {
            size_t length = (size_t)(assets[i].end - assets[i].bytes);
            response->status = 200;
            response->content_type = assets[i].content_type;
            response->body = (char *)(uintptr_t)assets[i].bytes;
            response->body_length = length;
            response->body_static = true;
            response_header(response, "Content-Security-Policy", POLICY);
            response_header(response, "Referrer-Policy", "no-referrer");
            response_header(response, "ETag", "\"%08x-%zx\"",
                            hash_crc32c(0, assets[i].bytes, length), length);
            response_header(response, "Cache-Control", "no-cache");
            return STATUS_OK;
        }
    }
    error_set(error, STATUS_NOT_FOUND, "the page has no such file");
    return error_code(error, "unknown_route", NULL);
}
