/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/state/vp.h"

#include "hvcore/base/own.h"

static void visit_numbers(struct hv_fields *fields, uint64_t *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hv_field_u64(fields, &numbers[i]);
}

static void visit_segment(struct hv_fields *fields, struct hv_segment_register *segment)
{
    hv_field_u64(fields, &segment->base);
    hv_field_u32(fields, &segment->limit);
    hv_field_u16(fields, &segment->selector);
    hv_field_u16(fields, &segment->attributes);
}

static void visit_table(struct hv_fields *fields, struct hv_table_register *table)
{
    hv_field_u64(fields, &table->base);
    hv_field_u16(fields, &table->limit);
}

static void visit_registers(struct hv_fields *fields, struct hv_vp_state *s)
{
    uint64_t *const others[] = {
        &s->cr0,          &s->cr2,
        &s->cr3,          &s->cr4,
        &s->cr8,          &s->efer,
        &s->xcr0,         &s->dr6,
        &s->dr7,          &s->star,
        &s->lstar,        &s->cstar,
        &s->sfmask,       &s->kernel_gs_base,
        &s->sysenter_cs,  &s->sysenter_esp,
        &s->sysenter_eip, &s->tsc_aux,
        &s->pat,          &s->tsc,
        &s->tsc_deadline, &s->apic_base,
    };

    visit_numbers(fields, s->gpr, HV_N_GPRS);
    hv_field_u64(fields, &s->rip);
    hv_field_u64(fields, &s->rflags);
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        visit_segment(fields, &s->segment[i]);
    visit_segment(fields, &s->ldtr);
    visit_segment(fields, &s->tr);
    visit_table(fields, &s->gdtr);
    visit_table(fields, &s->idtr);
    visit_numbers(fields, s->dr, HV_ARRAY_SIZE(s->dr));
    for (unsigned i = 0; i < HV_ARRAY_SIZE(others); i++)
        hv_field_u64(fields, others[i]);
}

static void visit_events(struct hv_fields *fields, struct hv_vp_state *s)
{
    hv_field_u8(fields, &s->activity);
    hv_field_u8(fields, &s->interrupt_shadow);
    hv_field_u8(fields, &s->nmi_blocked);
    hv_field_u8(fields, &s->nmi_pending);
    hv_field_u8(fields, &s->interrupt_in_flight);
}

static void visit_message(struct hv_fields *fields, struct hv_message_state *message)
{
    hv_field_u32(fields, &message->sint);
    hv_field_u32(fields, &message->type);
    hv_field_count(fields, &message->bytes, sizeof(message->payload));
    hv_field_bytes(fields, message->payload, message->bytes);
}

static void visit_synic(struct hv_fields *fields, struct hv_synic_state *synic)
{
    hv_field_u64(fields, &synic->control);
    hv_field_u64(fields, &synic->siefp);
    hv_field_u64(fields, &synic->simp);
    visit_numbers(fields, synic->sint, HV_STATE_SINTS);
    for (unsigned i = 0; i < HV_STATE_STIMERS; i++) {
        hv_field_u64(fields, &synic->stimer[i].config);
        hv_field_u64(fields, &synic->stimer[i].count);
        hv_field_u64(fields, &synic->stimer[i].due);
        hv_field_u64(fields, &synic->stimer[i].message_due);
    }
    hv_field_count(fields, &synic->n_messages, HV_STATE_MESSAGES);
    for (uint32_t i = 0; i < synic->n_messages; i++)
        visit_message(fields, &synic->message[i]);
}

static void visit_machine(struct hv_fields *fields, struct hv_machine_msrs *msrs)
{
    hv_field_u64(fields, &msrs->mtrr_default);
    visit_numbers(fields, msrs->mtrr_variable, HV_ARRAY_SIZE(msrs->mtrr_variable));
    visit_numbers(fields, msrs->mtrr_fixed, HV_ARRAY_SIZE(msrs->mtrr_fixed));
    hv_field_u64(fields, &msrs->mcg_status);
    hv_field_u64(fields, &msrs->misc_enable);
    hv_field_u64(fields, &msrs->debugctl);
    hv_field_u64(fields, &msrs->hwcr);
    hv_field_u64(fields, &msrs->syscfg);
    visit_numbers(fields, msrs->top_mem, HV_ARRAY_SIZE(msrs->top_mem));
    hv_field_u64(fields, &msrs->ls_cfg);
    hv_field_u64(fields, &msrs->nb_cfg);
}

void state_visit_vp(struct hv_fields *fields, struct hv_vp_state *state)
{
    visit_registers(fields, state);
    visit_events(fields, state);
    hv_field_bytes(fields, state->xsave, sizeof(state->xsave));
    hv_field_bytes(fields, state->lapic, sizeof(state->lapic));
    visit_synic(fields, &state->synic);
    visit_machine(fields, &state->machine);
    hv_field_u64(fields, &state->vp_assist);
    hv_field_u64(fields, &state->runtime_ns);
}

void state_visit_partition(struct hv_fields *fields, struct hv_partition_state *state)
{
    hv_field_u64(fields, &state->guest_os_id);
    hv_field_u64(fields, &state->hypercall);
    hv_field_u64(fields, &state->reference_tsc);
    visit_numbers(fields, state->crash, HV_ARRAY_SIZE(state->crash));
    hv_field_u64(fields, &state->tsc);
}
