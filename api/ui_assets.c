/* The files of the page, and the description of the routes, as bytes of the program: the assembler
 * reads them in.
 * SPDX-License-Identifier: Apache-2.0
 *
 * UI_PACKED is the folder, relative to where make runs, in which make has left them compressed. A
 * file of the page is one line in UI_FILES.
 */
#include "api/ui_assets.h"

#include "base/check.h"

#define HTML   "text/html; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"
#define STYLE  "text/css; charset=utf-8"
#define IMAGE  "image/svg+xml"
#define JSON   "application/json"

/* file(symbol, path in the URL, file, type) */
#define UI_FILES(file)                                                                             \
    file(index, "/", "index.html", HTML) file(icon, "/ui/icon.svg", "icon.svg", IMAGE)             \
        file(style, "/ui/page.css", "page.css", STYLE) file(app, "/ui/app.js", "app.js", SCRIPT)   \
            file(ask, "/ui/ask.js", "ask.js", SCRIPT) file(dom, "/ui/dom.js", "dom.js", SCRIPT)    \
                file(format, "/ui/format.js", "format.js",                                         \
                     SCRIPT) file(words, "/ui/words.js", "words.js",                               \
                                  SCRIPT) file(list, "/ui/list.js", "list.js", SCRIPT)             \
                    file(rows, "/ui/rows.js", "rows.js",                                           \
                         SCRIPT) file(series, "/ui/series.js", "series.js",                        \
                                      SCRIPT) file(facts, "/ui/facts.js", "facts.js", SCRIPT)      \
                        file(chart, "/ui/chart.js", "chart.js", SCRIPT)                            \
                            file(past, "/ui/past.js", "past.js", SCRIPT)                           \
                                file(accuracy, "/ui/accuracy.js", "accuracy.js", SCRIPT)           \
                                    file(anomalies, "/ui/anomalies.js", "anomalies.js", SCRIPT)    \
                                        file(training, "/ui/training.js", "training.js", SCRIPT)   \
                                            file(models, "/ui/models.js", "models.js", SCRIPT)     \
                                                file(health, "/ui/health.js", "health.js", SCRIPT) \
                                                    file(welcome, "/ui/welcome.js", "welcome.js",  \
                                                         SCRIPT)                                   \
                                                        file(uplot, "/ui/uPlot.iife.min.js",       \
                                                             "vendor/uPlot.iife.min.js", SCRIPT)   \
                                                            file(openapi, "/openapi.json",         \
                                                                 "openapi.json", JSON)

#define INCLUDE_FILE(symbol, url, file, type)                                                      \
    __asm__(".section .rodata\n"                                                                   \
            ".global ui_" #symbol "\n"                                                             \
            ".global ui_" #symbol "_end\n"                                                         \
            ".balign 16\n"                                                                         \
            "ui_" #symbol ":\n"                                                                    \
            ".incbin \"" UI_PACKED file ".gz\"\n"                                                  \
            "ui_" #symbol "_end:\n"                                                                \
            ".byte 0\n"                                                                            \
            ".previous\n");                                                                        \
    extern const char ui_##symbol[], ui_##symbol##_end[];

#define ASSET(symbol, url, file, type) {url, type, ui_##symbol, ui_##symbol##_end},

UI_FILES(INCLUDE_FILE)

static const struct ui_asset assets[] = {UI_FILES(ASSET)};

const struct ui_asset *ui_assets(size_t *count)
{
    *count = ARRAY_COUNT(assets);
    return assets;
}
