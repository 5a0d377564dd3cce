/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the D-Bus rim share. */
#pragma once

#include "api/gen/dbus.h"
#include "hvcore/base/guid.h"
#include "hvcore/base/list.h"
#include "vmmsd/bus/bus.h"
#include "vmmsd/io/bus.h"

#define VMMS_DBUS_NAME "org.hvstack.Vmms1"
#define VMMS_DBUS_PATH "/org/hvstack/Vmms1"

enum { VMMS_DBUS_PATH_BYTES = 128, VMMS_DBUS_KEY_BYTES = 64 };

/* An object path, taken apart. */
struct vmms_dbus_place {
    /* read only */
    enum api_dbus_object object;
    char key[VMMS_DBUS_KEY_BYTES]; /* a VM's or group's id, a job's number; empty at the root */
    bool is_branch;                /* ".../vm" itself: has children and nothing else */
};

/* What becomes of a call's answer. */
enum vmms_dbus_purpose {
    VMMS_DBUS_METHOD,     /* to the caller, as the method's result */
    VMMS_DBUS_JSON,       /* to the caller, as JSON */
    VMMS_DBUS_CONSOLE,    /* to the caller, with the descriptor of a stream */
    VMMS_DBUS_PROPERTY,   /* to the caller, as one property */
    VMMS_DBUS_PROPERTIES, /* to the caller, as all properties of an interface */
    VMMS_DBUS_CHILDREN,   /* to the caller, as introspection data */
    VMMS_DBUS_OBJECTS,    /* to the caller, as the managed objects */
    VMMS_DBUS_EVENTS,     /* of our own: events to be told */
    VMMS_DBUS_TELL_ADDED, /* of our own: an object's properties, for a signal */
    VMMS_DBUS_TELL_CHANGED,
    VMMS_DBUS_TELL_RENAMED /* of a group: its members tell its name, too */
};

/* A call that is not answered yet. */
struct vmms_dbus_call {
    /* private */
    struct hv_list node;
    struct vmms_dbus *dbus;
    uint64_t number; /* 0: not handed to the service yet */
    enum vmms_dbus_purpose purpose;
    struct vmms_dbus_place place;
    sd_bus_message *message; /* the caller's, or NULL */
    struct api_request request;
    bool has_request;
    bool is_change;
    bool is_text;    /* its result is one text */
    bool is_waiting; /* for its rights */
    const struct api_dbus_interface *interface;
    size_t property;           /* index, for VMMS_DBUS_PROPERTY */
    sd_bus_message *collected; /* for VMMS_DBUS_CHILDREN and _OBJECTS: the answer so far */
    sd_bus_slot *slot;         /* the question to polkit */
    int stream_fd;             /* for VMMS_DBUS_CONSOLE: the caller's end, -1: none */
    struct peer *peer;
};

/* Who calls: a unique name on the bus, and what is known of it. */
struct peer {
    /* private */
    struct hv_list node;
    struct vmms_dbus *dbus;
    char *name;
    bool is_known;
    uint32_t uid; /* when is_known */
    unsigned in_flight;
    sd_bus_slot *slot; /* the question who it is */
    struct hv_list rights;
    char actor[32];
};

struct vmms_dbus {
    /* private */
    struct vmms_dbus_config config;
    struct vmms_bus *bus; /* NULL while there is none */
    uv_timer_t retry;
    struct hv_list calls;
    struct hv_list peers;
    struct hv_list streams;
    unsigned n_calls;
    unsigned n_peers;
    uint64_t next_call;
    uint64_t cursor;     /* number of the next event to be told */
    uint64_t last_event; /* known to be there */
    bool is_reading;     /* events are on their way */
    bool is_named;
    bool is_closing;
};

/* place.c */
bool vmms_dbus_place_read(const char *path, struct vmms_dbus_place *ret);
/* id: as the API writes it. */
void vmms_dbus_vm_path(const char *id, char ret[static VMMS_DBUS_PATH_BYTES]);
void vmms_dbus_group_path(const char *id, char ret[static VMMS_DBUS_PATH_BYTES]);
void vmms_dbus_job_path(uint64_t id, char ret[static VMMS_DBUS_PATH_BYTES]);
const struct api_dbus_interface *vmms_dbus_interface(enum api_dbus_object object, const char *name);

/* read.c: the arguments of a method call as a request. Returns 0, -EINVAL with *reterr, -ENOMEM. */
int vmms_dbus_read_call(sd_bus_message *message, const struct api_dbus_method *method,
                        const struct vmms_dbus_place *place, struct api_request *ret,
                        struct api_error **reterr);

/* A method's arguments as JSON text (empty: none) as a request. Returns as above. */
int vmms_dbus_read_text(const char *text, size_t length, const char *method,
                        struct api_request *ret, struct api_error **reterr);

/* write.c: results as D-Bus values. Return 0 or a negative errno of sd-bus. */
int vmms_dbus_put_record(sd_bus_message *message, const struct api_record *record, const void *from,
                         uint64_t fields);
/* A field as a variant; one that is not there as empty. */
int vmms_dbus_put_property(sd_bus_message *message, const struct api_dbus_interface *interface,
                           size_t index, const void *from);
/* All properties of an interface as one dictionary; or those that are told when they change. */
int vmms_dbus_put_properties(sd_bus_message *message, const struct api_dbus_interface *interface,
                             const void *from);
int vmms_dbus_put_small(sd_bus_message *message, const struct api_dbus_interface *interface,
                        const void *from);

/* json.c: is it CallJson, and its arguments as a request: as vmms_dbus_read_call. Answers are what
 * JSON-RPC answers; return 0 or a negative errno. */
bool vmms_dbus_is_json(const struct vmms_dbus_call *call, const char *interface,
                       const char *member);
int vmms_dbus_read_json(struct vmms_dbus_call *call, struct api_error **reterr);
int vmms_dbus_put_json(struct vmms_dbus_call *call, enum api_method method,
                       const union api_result *result, uint64_t fields, sd_bus_message **ret);
int vmms_dbus_put_json_error(struct vmms_dbus_call *call, const struct api_error *error,
                             sd_bus_message **ret);

/* stream.c: is it Console.Open, and its arguments as a request: as vmms_dbus_read_call. */
bool vmms_dbus_is_console(const struct vmms_dbus_call *call, const char *interface,
                          const char *member);
int vmms_dbus_read_console(struct vmms_dbus_call *call, struct api_error **reterr);
int vmms_dbus_put_console(struct vmms_dbus_call *call, enum api_method method,
                          const union api_result *result, uint64_t fields, sd_bus_message **ret);
void vmms_dbus_close_streams(struct vmms_dbus *dbus);

/* dispatch.c */
/* The call becomes a read of all groups behind that name (NULL: of all), with those fields. */
void vmms_dbus_request_groups(struct vmms_dbus_call *call, const char *after, uint64_t fields);
/* The call of that number, or NULL. */
struct vmms_dbus_call *vmms_dbus_call_find(const struct vmms_dbus *dbus, uint64_t number);
int vmms_dbus_dispatch(sd_bus_message *message, void *opaque, sd_bus_error *error);
struct vmms_dbus_call *vmms_dbus_call_new(struct vmms_dbus *dbus, sd_bus_message *message,
                                          enum vmms_dbus_purpose purpose);
void vmms_dbus_call_free(struct vmms_dbus_call *call);
/* Its caller may do it: hand it to the service. call is taken. */
void vmms_dbus_call_go(struct vmms_dbus_call *call);
/* error: taken. call is taken. */
void vmms_dbus_call_fail(struct vmms_dbus_call *call, struct api_error *error);
/* The answer is written: send it. message: taken; r: what became of writing it. call is taken. */
void vmms_dbus_call_answer(struct vmms_dbus_call *call, sd_bus_message *message, int r);

/* answer.c */
void vmms_dbus_answered(struct vmms_dbus_call *call, enum api_method method,
                        const union api_result *result, uint64_t fields,
                        const struct api_error *error);
/* The managed objects are complete; r: what became of writing them. call is taken. */
void vmms_dbus_objects_end(struct vmms_dbus_call *call, int r);
/* All interfaces of an object with their properties, as a dictionary. */
int vmms_dbus_put_interfaces(sd_bus_message *message, enum api_dbus_object object,
                             const void *from);

/* authorize.c: find out whether the caller may; then vmms_dbus_call_go or _fail. call is taken. */
void vmms_dbus_authorize(struct vmms_dbus_call *call);
/* For another question that the same call comes to. */
void vmms_dbus_authorize_again(struct vmms_dbus_call *call);
int vmms_dbus_watch_peers(struct vmms_dbus *dbus);
void vmms_dbus_forget_peers(struct vmms_dbus *dbus);
void vmms_dbus_peer_done(struct vmms_dbus_call *call);

/* signals.c */
void vmms_dbus_tell_events(struct vmms_dbus *dbus);
void vmms_dbus_events_read(struct vmms_dbus_call *call, const struct api_event_list *list);
/* from: what the object is, an api_vm, api_job or api_group */
void vmms_dbus_tell_object(struct vmms_dbus_call *call, const void *from);
