/* One request on its way through the api: its body, the series that its path names, its answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/call.h"

#include "api/inflate.h"
#include "base/series_name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum status call_body(const struct call *call, const char **bytes, size_t *length, char **owned,
                      struct error *error)
{
    const struct api_request *request = call->request;
    *owned = NULL;
    *bytes = request->body;
    *length = request->body_length;
    if (request->encoding != API_GZIP && request->encoding != API_ZSTD) {
        return STATUS_OK;
    }
    enum status status = (request->encoding == API_GZIP ? inflate_gzip : inflate_zstd)(
        request->body, request->body_length, call->limits->body_max, owned, length, error);
    *bytes = *owned;
    return status;
}

enum status series_by_text(const struct view *view, const char *text, size_t length, uint32_t *id,
                           struct error *error)
{
    char canonical[SERIES_TEXT_MAX];
    size_t canonical_length = 0;
    if (series_name_parse(text, length, canonical, &canonical_length, error) != STATUS_OK) {
        return error->status;
    }
    *id = view_find(view, canonical, canonical_length);
    if (*id == 0) {
        error_set(error, STATUS_NOT_FOUND, "there is no series \"%.*s\"",
                  (int)(canonical_length < 200 ? canonical_length : 200), canonical);
        return error_code(error, "unknown_series", NULL);
    }
    return STATUS_OK;
}

enum status call_series(const struct call *call, uint32_t *id, struct error *error)
{
    const char *text = call->argument;
    if (text[0] >= '1' && text[0] <= '9' && strspn(text, "0123456789") == call->argument_length) {
        errno = 0;
        unsigned long number = strtoul(text, NULL, 10);
        if (errno == 0 && number <= UINT32_MAX && view_has(call->view, (uint32_t)number)) {
            *id = (uint32_t)number;
            return STATUS_OK;
        }
    }
    return series_by_text(call->view, text, call->argument_length, id, error);
}

enum status call_json(struct call *call, int http, struct text *text, struct error *error)
{
    enum status status = response_take_text(call->response, http, CONTENT_JSON, text, error);
    if (status == STATUS_OK) {
        response_common_headers(call->response);
    }
    return status;
}
