/* Tests of the picture: lines with gaps, scales, labels, and text from anywhere.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/svg_chart.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT   24
#define HORIZON 6
#define MISSING ((double)NAN)
#define HOUR_MS INT64_C(3600000)

static double actual[COUNT];
static float quantiles[QUANTILE_COUNT * HORIZON];
static struct chart_fan fan = {COUNT - HORIZON, HORIZON, quantiles};
static struct text svg;

static struct chart_panel panel_of(const char *title)
{
    return (struct chart_panel){.kind = "",
                                .title = title,
                                .note = "",
                                .actual = actual,
                                .count = COUNT,
                                .start_ms = INT64_C(1532476800000), /* 2018-07-25 */
                                .step_ms = HOUR_MS,
                                .fans = &fan,
                                .fan_count = 1};
}

static int fill(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        actual[i] = 100.0 + i;
    }
    for (int q = 0; q < QUANTILE_COUNT; q++) {
        for (int h = 0; h < HORIZON; h++) {
            quantiles[q * HORIZON + h] = (float)(118 + h + (q - 5));
        }
    }
    text_init(&svg, 1 << 20);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    text_release(&svg);
    return 0;
}

static void draw(const struct chart_panel *panel)
{
    chart_begin(&svg, "title", "subtitle", 1);
    chart_panel(&svg, panel, 0);
    chart_end(&svg);
    assert_int_equal(svg.failed, STATUS_OK);
    assert_null(strstr(svg.bytes, "nan"));
    assert_null(strstr(svg.bytes, "inf"));
}

/* The d attribute of the last path of a class. */
static void path_of(const char *class, char *out, size_t capacity)
{
    char mark[64];
    snprintf(mark, sizeof(mark), "<path class=\"%s\" d=\"", class);
    const char *found = NULL;
    for (const char *at = svg.bytes; (at = strstr(at, mark)) != NULL; at++) {
        found = at + strlen(mark);
    }
    assert_non_null(found);
    snprintf(out, capacity, "%.*s", (int)strcspn(found, "\""), found);
}

static size_t count_of(const char *text, char letter)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == letter;
    }
    return count;
}

static void a_gap_interrupts_the_line(void **state)
{
    char path[4000];
    (void)state;
    struct chart_panel panel = panel_of("s");
    draw(&panel);
    path_of("actual", path, sizeof(path));
    assert_int_equal(count_of(path, 'M'), 1);
    assert_int_equal(count_of(path, 'L'), COUNT - 1);
    text_clear(&svg);
    actual[5] = actual[7] = MISSING; /* 6 stands alone: a dot */
    draw(&panel);
    path_of("actual", path, sizeof(path));
    assert_int_equal(count_of(path, 'M'), 3);
    assert_int_equal(count_of(path, 'L'), COUNT - 2 - 3);
}

static void a_fan_opens_at_the_value_before(void **state)
{
    char path[4000];
    (void)state;
    struct chart_panel panel = panel_of("s");
    draw(&panel);
    path_of("narrow", path, sizeof(path));
    assert_int_equal(count_of(path, 'M') + count_of(path, 'L'), 1 + 2 * HORIZON);
    text_clear(&svg);
    actual[fan.first - 1] = MISSING; /* then at its own first step */
    draw(&panel);
    path_of("narrow", path, sizeof(path));
    assert_int_equal(count_of(path, 'M') + count_of(path, 'L'), 2 * HORIZON);
    path_of("median", path, sizeof(path));
    assert_int_equal(count_of(path, 'M') + count_of(path, 'L'), HORIZON);
}

static void flat_and_empty_series_have_a_scale(void **state)
{
    (void)state;
    struct chart_panel panel = panel_of("s");
    for (int i = 0; i < COUNT; i++) {
        actual[i] = 5.0;
    }
    for (int i = 0; i < QUANTILE_COUNT * HORIZON; i++) {
        quantiles[i] = 5.0f;
    }
    draw(&panel);
    text_clear(&svg);
    for (int i = 0; i < COUNT; i++) {
        actual[i] = MISSING;
    }
    panel.fan_count = 0;
    draw(&panel);
}

/* A wild tail would flatten everything else: the scale does not follow it, the frame cuts it. */
static void the_scale_ignores_far_tails(void **state)
{
    (void)state;
    struct chart_panel panel = panel_of("s");
    quantiles[(QUANTILE_COUNT - 1) * HORIZON] = 1e9f;
    draw(&panel);
    assert_non_null(strstr(svg.bytes, ">120</text>"));
    assert_null(strstr(svg.bytes, "000,000"));
    assert_non_null(strstr(svg.bytes, "clip-path=\"url(#frame0)\""));
}

static void non_negative_series_begin_near_zero(void **state)
{
    (void)state;
    struct chart_panel panel = panel_of("s");
    for (int i = 0; i < COUNT; i++) {
        actual[i] = i % 2;
    }
    for (int i = 0; i < QUANTILE_COUNT * HORIZON; i++) {
        quantiles[i] = 1.0f;
    }
    draw(&panel);
    assert_non_null(strstr(svg.bytes, ">0</text>"));
    assert_null(strstr(svg.bytes, ">-0"));
}

static void times_are_told_in_words(void **state)
{
    (void)state;
    struct chart_panel panel = panel_of("s");
    draw(&panel);
    assert_non_null(strstr(svg.bytes, ">25 Jul</text>"));
    assert_non_null(strstr(svg.bytes, ">06:00</text>"));
    assert_non_null(strstr(svg.bytes, "25 Jul 2018 00:00 to 25 Jul 2018 23:00 UTC"));
    text_clear(&svg);
    panel.step_ms = 24 * HOUR_MS * 30; /* two years: months */
    draw(&panel);
    assert_non_null(strstr(svg.bytes, " 2019</text>"));
    text_clear(&svg);
    panel.step_ms = 4 * 24 * HOUR_MS; /* three months: every second Monday; 2018-07-30 is one */
    draw(&panel);
    assert_non_null(strstr(svg.bytes, ">30 Jul</text>"));
    text_clear(&svg);
    panel.start_ms = -panel.start_ms; /* before 1970 */
    draw(&panel);
    assert_non_null(strstr(svg.bytes, "1921"));
}

static void text_is_escaped_and_cut_between_characters(void **state)
{
    (void)state;
    char title[200];
    struct chart_panel panel = panel_of("a<b>&\"c\"\n{zone=\"x\"}");
    draw(&panel);
    assert_non_null(strstr(svg.bytes, "a&lt;b&gt;&amp;\"c\" {zone=\"x\"}"));
    text_clear(&svg);
    for (int i = 0; i < 90; i++) {
        memcpy(title + 2 * i, "\xc3\xa4", 3); /* an umlaut at each even byte */
    }
    title[0] = 'x'; /* now at odd ones */
    memmove(title + 1, title + 2, strlen(title + 2) + 1);
    panel.title = title;
    draw(&panel);
    const char *at = strstr(svg.bytes, "x\xc3\xa4");
    assert_non_null(at);
    const char *end = strstr(at, "\xe2\x80\xa6"); /* the ellipsis */
    assert_non_null(end);
    assert_int_equal((end - at) % 2, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fill, drop)
    const struct CMUnitTest tests[] = {
        TEST(a_gap_interrupts_the_line),
        TEST(a_fan_opens_at_the_value_before),
        TEST(flat_and_empty_series_have_a_scale),
        TEST(the_scale_ignores_far_tails),
        TEST(non_negative_series_begin_near_zero),
        TEST(times_are_told_in_words),
        TEST(text_is_escaped_and_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
