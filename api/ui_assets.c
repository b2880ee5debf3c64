/* The files of the page as bytes of the program: the assembler reads them in.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Paths are relative to the root of the repository, where make runs.
 */
#include "api/ui_assets.h"

#include "base/check.h"

#define ASSET(symbol, file)                                                                        \
    __asm__(".section .rodata\n"                                                                   \
            ".global ui_" #symbol "\n"                                                             \
            ".global ui_" #symbol "_end\n"                                                         \
            ".balign 16\n"                                                                         \
            "ui_" #symbol ":\n"                                                                    \
            ".incbin \"" file "\"\n"                                                               \
            "ui_" #symbol "_end:\n"                                                                \
            ".byte 0\n"                                                                            \
            ".previous\n");                                                                        \
    extern const char ui_##symbol[], ui_##symbol##_end[]

ASSET(index_html, "api/ui/index.html");
ASSET(app_js, "api/ui/app.js");
ASSET(chart_js, "api/ui/chart.js");
ASSET(format_js, "api/ui/format.js");
ASSET(style_css, "api/ui/style.css");
ASSET(icon_svg, "api/ui/icon.svg");
ASSET(uplot_js, "api/ui/vendor/uPlot.iife.min.js");
ASSET(uplot_css, "api/ui/vendor/uPlot.min.css");

#define HTML   "text/html; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"
#define STYLE  "text/css; charset=utf-8"

static const struct ui_asset assets[] = {
    {"/", HTML, ui_index_html, ui_index_html_end},
    {"/app.js", SCRIPT, ui_app_js, ui_app_js_end},
    {"/chart.js", SCRIPT, ui_chart_js, ui_chart_js_end},
    {"/format.js", SCRIPT, ui_format_js, ui_format_js_end},
    {"/style.css", STYLE, ui_style_css, ui_style_css_end},
    {"/icon.svg", "image/svg+xml", ui_icon_svg, ui_icon_svg_end},
    {"/vendor/uPlot.iife.min.js", SCRIPT, ui_uplot_js, ui_uplot_js_end},
    {"/vendor/uPlot.min.css", STYLE, ui_uplot_css, ui_uplot_css_end},
};

const struct ui_asset *ui_assets(size_t *count)
{
    *count = ARRAY_COUNT(assets);
    return assets;
}
