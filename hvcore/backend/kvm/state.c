/* SPDX-License-Identifier: Apache-2.0 */
/* A VP's state between KVM's forms and struct hv_vp_state. */
#include "hvcore/backend/kvm/kvm_priv.h"
#include "hvcore/spec/msr.h"

#include <string.h>

/* MSRs that are fields of the state. The TSC goes by offset, the deadline after the LAPIC. */
struct msr_field {
    uint32_t msr;
    size_t offset;
};

#define FIELD(number, member)                                                                      \
    {                                                                                              \
        number, offsetof(struct hv_vp_state, member)                                               \
    }

static const struct msr_field msr_fields[] = {
    FIELD(X86_MSR_STAR, star),
    FIELD(X86_MSR_LSTAR, lstar),
    FIELD(X86_MSR_CSTAR, cstar),
    FIELD(X86_MSR_SFMASK, sfmask),
    FIELD(X86_MSR_KERNEL_GS_BASE, kernel_gs_base),
    FIELD(X86_MSR_SYSENTER_CS, sysenter_cs),
    FIELD(X86_MSR_SYSENTER_ESP, sysenter_esp),
    FIELD(X86_MSR_SYSENTER_EIP, sysenter_eip),
    FIELD(X86_MSR_TSC_AUX, tsc_aux),
    FIELD(X86_MSR_PAT, pat),
};

enum { N_MSR_FIELDS = HV_ARRAY_SIZE(msr_fields), MAX_MSRS = 40 };

/* KVM's list with room for entries. */
union msr_list {
    struct kvm_msrs head;
    uint8_t bytes[sizeof(struct kvm_msrs) + MAX_MSRS * sizeof(struct kvm_msr_entry)];
};

int hvkvm_vp_get_msr(const struct kvm_vp *vp, uint32_t msr, uint64_t *ret)
{
    union msr_list list = { .bytes = { 0 } };
    int r;

    list.head.nmsrs = 1;
    list.head.entries[0].index = msr;
    r = hvkvm_ioctl(vp->fd, KVM_GET_MSRS, &list);
    if (r < 0)
        return r;
    if (r != 1)
        return -ENXIO;
    *ret = list.head.entries[0].data;
    return 0;
}

int hvkvm_vp_set_msr(const struct kvm_vp *vp, uint32_t msr, uint64_t value)
{
    union msr_list list = { .bytes = { 0 } };
    int r;

    list.head.nmsrs = 1;
    list.head.entries[0] = (struct kvm_msr_entry){ .index = msr, .data = value };
    r = hvkvm_ioctl(vp->fd, KVM_SET_MSRS, &list);
    return r < 0 ? r : r == 1 ? 0 : -EINVAL;
}

static int get_msr_fields(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    union msr_list list = { .bytes = { 0 } };
    int r;

    list.head.nmsrs = N_MSR_FIELDS;
    for (unsigned i = 0; i < N_MSR_FIELDS; i++)
        list.head.entries[i].index = msr_fields[i].msr;
    r = hvkvm_ioctl(vp->fd, KVM_GET_MSRS, &list);
    if (r < 0)
        return r;
    if (r != N_MSR_FIELDS)
        return -ENXIO;
    for (unsigned i = 0; i < N_MSR_FIELDS; i++)
        *(uint64_t *)((char *)ret + msr_fields[i].offset) = list.head.entries[i].data;
    return 0;
}

static int set_msr_fields(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    union msr_list list = { .bytes = { 0 } };
    int r;

    list.head.nmsrs = N_MSR_FIELDS;
    for (unsigned i = 0; i < N_MSR_FIELDS; i++) {
        list.head.entries[i].index = msr_fields[i].msr;
        list.head.entries[i].data = *(const uint64_t *)((const char *)state + msr_fields[i].offset);
    }
    r = hvkvm_ioctl(vp->fd, KVM_SET_MSRS, &list);
    return r < 0 ? r : r == N_MSR_FIELDS ? 0 : -EINVAL;
}

/* --- segments --- */

static struct hv_segment_register segment_from(const struct kvm_segment *from)
{
    struct hv_segment_register to = { .base = from->base,
                                      .limit = from->limit,
                                      .selector = from->selector };

    if (!from->unusable)
        to.attributes = (uint16_t)(from->type | from->s << 4 | from->dpl << 5 | from->present << 7 |
                                   from->avl << 8 | from->l << 9 | from->db << 10 | from->g << 11);
    return to;
}

static struct kvm_segment segment_to(const struct hv_segment_register *from)
{
    unsigned a = from->attributes;

    return (struct kvm_segment){
        .base = from->base,
        .limit = from->limit,
        .selector = from->selector,
        .type = a & HV_SEG_TYPE,
        .s = a >> 4 & 1,
        .dpl = a >> HV_SEG_DPL_SHIFT & 3,
        .present = a >> 7 & 1,
        .avl = a >> 8 & 1,
        .l = a >> 9 & 1,
        .db = a >> 10 & 1,
        .g = a >> 11 & 1,
        .unusable = !(a & HV_SEG_P),
    };
}

static int get_special(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    struct kvm_sregs sregs;
    int r = hvkvm_ioctl(vp->fd, KVM_GET_SREGS, &sregs);

    if (r < 0)
        return r;
    ret->segment[HV_ES] = segment_from(&sregs.es);
    ret->segment[HV_CS] = segment_from(&sregs.cs);
    ret->segment[HV_SS] = segment_from(&sregs.ss);
    ret->segment[HV_DS] = segment_from(&sregs.ds);
    ret->segment[HV_FS] = segment_from(&sregs.fs);
    ret->segment[HV_GS] = segment_from(&sregs.gs);
    ret->ldtr = segment_from(&sregs.ldt);
    ret->tr = segment_from(&sregs.tr);
    ret->gdtr = (struct hv_table_register){ .base = sregs.gdt.base, .limit = sregs.gdt.limit };
    ret->idtr = (struct hv_table_register){ .base = sregs.idt.base, .limit = sregs.idt.limit };
    ret->cr0 = sregs.cr0;
    ret->cr2 = sregs.cr2;
    ret->cr3 = sregs.cr3;
    ret->cr4 = sregs.cr4;
    ret->cr8 = sregs.cr8;
    ret->efer = sregs.efer;
    ret->apic_base = sregs.apic_base;
    return 0;
}

static int set_special(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    struct kvm_sregs sregs = {
        .es = segment_to(&state->segment[HV_ES]),
        .cs = segment_to(&state->segment[HV_CS]),
        .ss = segment_to(&state->segment[HV_SS]),
        .ds = segment_to(&state->segment[HV_DS]),
        .fs = segment_to(&state->segment[HV_FS]),
        .gs = segment_to(&state->segment[HV_GS]),
        .ldt = segment_to(&state->ldtr),
        .tr = segment_to(&state->tr),
        .gdt = { .base = state->gdtr.base, .limit = state->gdtr.limit },
        .idt = { .base = state->idtr.base, .limit = state->idtr.limit },
        .cr0 = state->cr0,
        .cr2 = state->cr2,
        .cr3 = state->cr3,
        .cr4 = state->cr4,
        .cr8 = state->cr8,
        .efer = state->efer,
        .apic_base = state->apic_base,
    };

    return hvkvm_ioctl(vp->fd, KVM_SET_SREGS, &sregs);
}

static int get_general(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    struct kvm_regs r;
    int result = hvkvm_ioctl(vp->fd, KVM_GET_REGS, &r);
    const uint64_t gpr[HV_N_GPRS] = { r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                                      r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15 };

    if (result < 0)
        return result;
    memcpy(ret->gpr, gpr, sizeof(gpr));
    ret->rip = r.rip;
    ret->rflags = r.rflags;
    return 0;
}

static int set_general(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    const uint64_t *g = state->gpr;
    struct kvm_regs regs = {
        .rax = g[HV_RAX],
        .rbx = g[HV_RBX],
        .rcx = g[HV_RCX],
        .rdx = g[HV_RDX],
        .rsi = g[HV_RSI],
        .rdi = g[HV_RDI],
        .rsp = g[HV_RSP],
        .rbp = g[HV_RBP],
        .r8 = g[HV_R8],
        .r9 = g[HV_R9],
        .r10 = g[HV_R10],
        .r11 = g[HV_R11],
        .r12 = g[HV_R12],
        .r13 = g[HV_R13],
        .r14 = g[HV_R14],
        .r15 = g[HV_R15],
        .rip = state->rip,
        .rflags = state->rflags,
    };

    return hvkvm_ioctl(vp->fd, KVM_SET_REGS, &regs);
}

/* --- vectors, debug registers, events --- */

static int get_vectors(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    struct kvm_xcrs xcrs = { 0 };
    struct kvm_xsave xsave;
    int r;

    r = hvkvm_ioctl(vp->fd, KVM_GET_XSAVE, &xsave);
    if (r < 0)
        return r;
    memcpy(ret->xsave, xsave.region, sizeof(ret->xsave));
    ret->xcr0 = 1;
    if (!vp->partition->has_xcrs)
        return 0;
    r = hvkvm_ioctl(vp->fd, KVM_GET_XCRS, &xcrs);
    if (r == 0 && xcrs.nr_xcrs > 0)
        ret->xcr0 = xcrs.xcrs[0].value;
    return r;
}

static int set_vectors(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = state->xcr0 } } };
    struct kvm_xsave xsave = { 0 };
    int r = 0;

    if (vp->partition->has_xcrs)
        r = hvkvm_ioctl(vp->fd, KVM_SET_XCRS, &xcrs);
    else if (state->xcr0 != 1)
        return -EINVAL;
    if (r < 0)
        return r;
    memcpy(xsave.region, state->xsave, sizeof(state->xsave));
    return hvkvm_ioctl(vp->fd, KVM_SET_XSAVE, &xsave);
}

static int get_debug(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    struct kvm_debugregs regs;
    int r = hvkvm_ioctl(vp->fd, KVM_GET_DEBUGREGS, &regs);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < 4; i++)
        ret->dr[i] = regs.db[i];
    ret->dr6 = regs.dr6;
    ret->dr7 = regs.dr7;
    return 0;
}

static int set_debug(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    struct kvm_debugregs regs = { .dr6 = state->dr6, .dr7 = state->dr7 };

    for (unsigned i = 0; i < 4; i++)
        regs.db[i] = state->dr[i];
    return hvkvm_ioctl(vp->fd, KVM_SET_DEBUGREGS, &regs);
}

/* An exception whose delivery was interrupted is not kept: the instruction raises it again. An
 * external interrupt is, for its controller has let go of it. */
static int get_events(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    struct kvm_vcpu_events events;
    int r = hvkvm_ioctl(vp->fd, KVM_GET_VCPU_EVENTS, &events);

    if (r < 0)
        return r;
    ret->interrupt_shadow = events.interrupt.shadow != 0;
    ret->nmi_blocked = events.nmi.masked != 0;
    ret->nmi_pending = events.nmi.pending != 0 || events.nmi.injected != 0;
    if (events.interrupt.injected && !events.interrupt.soft)
        ret->interrupt_in_flight = events.interrupt.nr;
    return 0;
}

static int set_events(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    struct kvm_vcpu_events events = {
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
        .nmi = { .masked = state->nmi_blocked != 0, .pending = state->nmi_pending != 0 },
        .interrupt = { .injected = state->interrupt_in_flight != 0,
                       .nr = state->interrupt_in_flight,
                       .shadow = state->interrupt_shadow ? KVM_X86_SHADOW_INT_STI : 0 },
    };

    return hvkvm_ioctl(vp->fd, KVM_SET_VCPU_EVENTS, &events);
}

static int get_activity(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    struct kvm_mp_state state;
    int r = hvkvm_ioctl(vp->fd, KVM_GET_MP_STATE, &state);

    if (r < 0)
        return r;
    switch (state.mp_state) {
    case KVM_MP_STATE_HALTED: ret->activity = HV_ACTIVITY_HALTED; break;
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED: ret->activity = HV_ACTIVITY_WAIT_FOR_SIPI; break;
    default: ret->activity = HV_ACTIVITY_ACTIVE; break;
    }
    return 0;
}

static int set_activity(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    static const uint32_t states[] = {
        [HV_ACTIVITY_ACTIVE] = KVM_MP_STATE_RUNNABLE,
        [HV_ACTIVITY_HALTED] = KVM_MP_STATE_HALTED,
        [HV_ACTIVITY_WAIT_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
    };
    struct kvm_mp_state mp_state;

    if (state->activity >= HV_ARRAY_SIZE(states))
        return -EINVAL;
    mp_state.mp_state = states[state->activity];
    return hvkvm_ioctl(vp->fd, KVM_SET_MP_STATE, &mp_state);
}

/* --- time --- */

static int tsc_offset_attribute(const struct kvm_vp *vp, unsigned long request, uint64_t *value)
{
    struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL,
                                    .attr = KVM_VCPU_TSC_OFFSET,
                                    .addr = (uintptr_t)value };

    return hvkvm_ioctl(vp->fd, request, &attr);
}

int hvkvm_vp_set_tsc_offset(struct kvm_vp *vp, uint64_t offset)
{
    if (vp->partition->has_tsc_offset)
        return tsc_offset_attribute(vp, KVM_SET_DEVICE_ATTR, &offset);
    return hvkvm_vp_set_msr(vp, X86_MSR_TSC, hv_tsc_read() + offset);
}

int hvkvm_vp_skip_tsc(struct kvm_vp *vp, uint64_t ticks)
{
    uint64_t offset;
    int r;

    if (!vp->partition->has_tsc_offset)
        return hvkvm_vp_set_tsc_offset(vp, hv_guest_clock_offset(vp->partition->host->clock));
    r = tsc_offset_attribute(vp, KVM_GET_DEVICE_ATTR, &offset);
    return r < 0 ? r : hvkvm_vp_set_tsc_offset(vp, offset - ticks);
}

static int get_tsc(const struct kvm_vp *vp, uint64_t *ret)
{
    const struct hv_guest_clock *clock = vp->partition->host->clock;
    uint64_t offset;
    int r;

    if (!vp->partition->has_tsc_offset) {
        *ret = hv_guest_clock_tsc(clock);
        return 0;
    }
    r = tsc_offset_attribute(vp, KVM_GET_DEVICE_ATTR, &offset);
    if (r < 0)
        return r;
    *ret = hv_guest_clock_tsc(clock) + (offset - hv_guest_clock_offset(clock));
    return 0;
}

int hvkvm_vp_freeze_timer(struct kvm_vp *vp)
{
    struct kvm_lapic_state lapic;
    int r = hvkvm_ioctl(vp->fd, KVM_GET_LAPIC, &lapic);

    if (r < 0)
        return r;
    memcpy(vp->paused_lapic, lapic.regs, sizeof(vp->paused_lapic));
    return hvkvm_vp_get_msr(vp, X86_MSR_TSC_DEADLINE, &vp->paused_deadline);
}

int hvkvm_vp_thaw_timer(struct kvm_vp *vp)
{
    struct kvm_lapic_state lapic;
    int r;

    memcpy(lapic.regs, vp->paused_lapic, sizeof(lapic.regs));
    r = hvkvm_ioctl(vp->fd, KVM_SET_LAPIC, &lapic);
    return r < 0 ? r : hvkvm_vp_set_msr(vp, X86_MSR_TSC_DEADLINE, vp->paused_deadline);
}

/* What was frozen is what counts until time goes on. */
static int get_lapic(struct kvm_vp *vp, struct hv_vp_state *ret)
{
    int r = vp->partition->is_paused ? 0 : hvkvm_vp_freeze_timer(vp);

    memcpy(ret->lapic, vp->paused_lapic, sizeof(ret->lapic));
    ret->tsc_deadline = vp->paused_deadline;
    return r;
}

static int set_lapic(struct kvm_vp *vp, const struct hv_vp_state *state)
{
    memcpy(vp->paused_lapic, state->lapic, sizeof(vp->paused_lapic));
    vp->paused_deadline = state->tsc_deadline;
    return hvkvm_vp_thaw_timer(vp);
}

static int set_tsc(struct kvm_vp *vp, const struct hv_vp_state *state)
{
    const struct hv_guest_clock *clock = vp->partition->host->clock;
    uint64_t distance = state->tsc - hv_guest_clock_tsc(clock);

    return hvkvm_vp_set_tsc_offset(vp, hv_guest_clock_offset(clock) + distance);
}

/* The MTRRs, which KVM holds: the list with their numbers, and where each one's value is. */
static unsigned list_mtrrs(union msr_list *list, struct hv_machine_msrs *machine,
                           uint64_t *values[static MAX_MSRS])
{
    struct kvm_msr_entry *entry = list->head.entries;
    unsigned n = 0;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(machine->mtrr_variable); i++) {
        entry[n].index = X86_MSR_MTRR_VARIABLE_FIRST + i;
        values[n++] = &machine->mtrr_variable[i];
    }
    for (unsigned i = 0; i < HV_ARRAY_SIZE(machine->mtrr_fixed); i++) {
        entry[n].index = i == 0  ? X86_MSR_MTRR_FIXED_64K
                         : i < 3 ? X86_MSR_MTRR_FIXED_16K_FIRST + i - 1
                                 : X86_MSR_MTRR_FIXED_4K_FIRST + i - 3;
        values[n++] = &machine->mtrr_fixed[i];
    }
    entry[n].index = X86_MSR_MTRR_DEFAULT;
    values[n++] = &machine->mtrr_default;
    list->head.nmsrs = n;
    return n;
}

static int get_mtrrs(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    union msr_list list = { .bytes = { 0 } };
    uint64_t *values[MAX_MSRS];
    unsigned n = list_mtrrs(&list, &ret->machine, values);
    int r = hvkvm_ioctl(vp->fd, KVM_GET_MSRS, &list);

    if (r < 0)
        return r;
    if (r != (int)n)
        return -ENXIO;
    for (unsigned i = 0; i < n; i++)
        *values[i] = list.head.entries[i].data;
    return 0;
}

static int set_mtrrs(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    struct hv_machine_msrs machine = state->machine;
    union msr_list list = { .bytes = { 0 } };
    uint64_t *values[MAX_MSRS];
    unsigned n = list_mtrrs(&list, &machine, values);
    int r;

    for (unsigned i = 0; i < n; i++)
        list.head.entries[i].data = *values[i];
    r = hvkvm_ioctl(vp->fd, KVM_SET_MSRS, &list);
    return r < 0 ? r : r == (int)n ? 0 : -EINVAL;
}

int hvkvm_vp_get_state(void *opaque, struct hv_vp_state *ret)
{
    struct kvm_vp *vp = opaque;
    int r;

    /* The activity first: asking for it settles INIT and SIPI. */
    if ((r = get_activity(vp, ret)) < 0 || (r = get_general(vp, ret)) < 0 ||
        (r = get_special(vp, ret)) < 0 || (r = get_msr_fields(vp, ret)) < 0 ||
        (r = get_mtrrs(vp, ret)) < 0 || (r = get_vectors(vp, ret)) < 0 ||
        (r = get_debug(vp, ret)) < 0 || (r = get_lapic(vp, ret)) < 0 ||
        (r = get_tsc(vp, &ret->tsc)) < 0 || (r = hvkvm_synic_get_state(vp, ret)) < 0)
        return r;
    return get_events(vp, ret);
}

int hvkvm_vp_set_state(void *opaque, const struct hv_vp_state *state)
{
    struct kvm_vp *vp = opaque;
    int r;

    /* SREGS enable the APIC mode that LAPIC needs; the deadline needs TSC and LAPIC; events and
     * activity come last, for the others disturb them. */
    if ((r = set_special(vp, state)) < 0 || (r = set_general(vp, state)) < 0 ||
        (r = set_vectors(vp, state)) < 0 || (r = set_msr_fields(vp, state)) < 0 ||
        (r = set_mtrrs(vp, state)) < 0 || (r = set_debug(vp, state)) < 0 ||
        (r = set_tsc(vp, state)) < 0 || (r = set_lapic(vp, state)) < 0 ||
        (r = hvkvm_synic_set_state(vp, state)) < 0 || (r = set_events(vp, state)) < 0)
        return r;
    return set_activity(vp, state);
}

/* What firmware would leave, and what earlier guests mustn't. */
int hvkvm_vp_set_machine_msrs(struct kvm_vp *vp)
{
    const struct hv_vp_state power_up = { .machine = { .mtrr_default = 0x806 } };

    return set_mtrrs(vp, &power_up);
}
