/* Tests of member: the longest context, by every backbone.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/member.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>
#include <string.h>

#define LONGEST 8192 /* tokens */
#define HORIZON 12

static enum status make(const char *backbone, size_t tokens, size_t patch, struct member **out,
                        struct error *failed)
{
    struct error error = {0};
    struct feature_plan plan = {.step_ms = 3600000, .horizon = HORIZON};
    static const uint32_t seasons[SEASONS_MAX] = {24};
    struct member_config config = {0};
    char text[64];
    snprintf(text, sizeof(text), "context=%zu patch=%zu", tokens * patch, patch);
    assert_ok(member_config_parse(text, strlen(text), &config, &error));
    snprintf(config.backbone, sizeof(config.backbone), "%s", backbone);
    return member_new(&config, &plan, seasons, out, failed);
}

static void the_longest_context_is_accepted(void **state UNUSED)
{
    static const size_t patches[] = {1, 4, 8};
    for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
        struct error error = {0};
        struct member *member = NULL;
        assert_ok(make("logsparse", LONGEST, patches[i], &member, &error));
        assert_int_equal(member->tokens - member->horizon_tokens, LONGEST);
        member_free(member);
    }
}

static void every_backbone_takes_it(void **state UNUSED)
{
    for (size_t i = 0; i < backbone_table_count; i++) {
        struct error error = {0};
        struct member *member = NULL;
        assert_ok(make(backbone_table[i]->name, LONGEST, 4, &member, &error));
        member_free(member);
    }
}

/* One token more is refused, before anything of that size is made. */
static void a_longer_one_is_refused_with_its_message(void **state UNUSED)
{
    static const size_t patches[] = {1, 4, 7};
    for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
        struct error error = {0};
        struct member *member = NULL;
        assert_status(make("logsparse", LONGEST + 1, patches[i], &member, &error), STATUS_INVALID);
        assert_string_equal(error.text, "cannot use a context of 8193 tokens, 8192 are the most");
        assert_string_equal(error.param, "context");
        assert_null(member);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_context_is_accepted),
        cmocka_unit_test(every_backbone_takes_it),
        cmocka_unit_test(a_longer_one_is_refused_with_its_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
