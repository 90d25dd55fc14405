// Package storetest is the conformance suite of session.Store that every store passes: [Run] with examples and races, [Model]
// by comparison with a plain map over random operations.
//
// It knows the port and the domain, and no particular store.
package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

// Open makes an empty store for one test and sees to it, by t.Cleanup, that it is closed afterwards. It must not
// return when there is no store to test: it skips or fails t instead.
type Open func(t *testing.T) session.Store

// Run tests the contract of the port. Every test has a separate store and runs in parallel with the others.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, session.Store)
	}{
		{"what is created can be got", createGet},
		{"a taken ID is a conflict", createTaken},
		{"what is not there is not found", notFound},
		{"an update replaces everything but the way of time", updateReplaces},
		{"an update of an old revision changes nothing", updateStale},
		{"a delete needs the present revision", deleteRevision},
		{"an ID can be used again after a delete", createAgain},
		{"ping answers", ping},

		{"a list is ordered by creation time and ID bytes", listOrder},
		{"a list is filtered by owner and statuses", listFilters},
		{"a list is filtered by tokens that are good at a time", listTokens},
		{"pages are whole, and stable while sessions come and go", listPages},
		{"the last page says that it is the last", listLastPage},
		{"a cursor that no page gave is invalid", listForeignCursor},

		{"counts are those of a list", countsAgree},

		{"touch moves forward only and keeps the revision", touchForward},
		{"touch ignores what is not there", touchUnknown},
		{"no update takes activity back", touchThenUpdate},
		{"touch of many sessions", touchMany},

		{"every field comes back", valueFields},
		{"empty fields come back empty", valueEmpty},
		{"metadata of every JSON kind comes back", valueMetadata},
		{"numbers in metadata keep their digits", valueNumbers},
		{"text in metadata without a form in every store is invalid", valueNUL},
		{"large metadata comes back", valueLarge},
		{"any language comes back", valueUnicode},
		{"times are UTC and cut to microseconds", valueTimes},
		{"values are not shared with callers", valueAliases},

		{"a full house refuses a create", capacityCreate},
		{"a full house refuses an update that begins to occupy", capacityUpdate},
		{"a session in its place is never refused an update", capacityStays},
		{"the store counts as Occupies does", capacityCounts},
		{"no limit is no limit", capacityUnlimited},

		{"one of many updates of a revision wins", raceUpdates},
		{"one of many creates of an ID wins", raceSameID},
		{"the limit of an owner's sessions is kept", ownerCapacity},
		{"creates in a race do not pass the limit", raceCreates},
		{"creates of an owner in a race do not pass the owner's limit", raceOwnerCreates},
		{"starts in a race do not pass the limit", raceStarts},
		{"touches in a race with updates get lost nowhere", raceTouches},
		{"lists in a race with changes see whole sessions", raceLists},

		{"a cancelled caller gets an error and changes nothing", cancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

// tb is what testing.T and rapid.T have in common, as far as this package needs it.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// epoch is the time origin of this suite.
var epoch = time.Date(2026, 2, 3, 4, 5, 6, 789012000, time.UTC)

func at(micros int) time.Time { return epoch.Add(time.Duration(micros) * time.Microsecond) }

// idle returns a session that occupies no slot.
func idle(id session.ID) session.Session {
	return session.Session{
		ID: id, Owner: "ann", Profile: "opencode", Image: "image:1", ContainerName: "berth-" + string(id),
		Status: session.Stopped, CreatedAt: epoch, LastAccessed: epoch,
	}
}

// busy returns a session that occupies a slot.
func busy(id session.ID) session.Session {
	s := idle(id)
	s.Status = session.Running
	return s
}

// Full returns a session without an empty field.
func Full(id session.ID) session.Session {
	return session.Session{
		ID: id, Owner: "ann", Profile: "opencode", Image: "registry.example/image:1", Host: "engine-1",
		ContainerName: "berth-" + string(id), ContainerID: "0123456789ab", HostDir: "/volumes/workspace", Port: 49153,
		Token: session.Token{
			Digest: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", ExpiresAt: at(10), RotatedAt: at(11),
			PreviousDigest: "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100", PreviousExpiresAt: at(18),
		},
		CreatedAt: at(12), LastAccessed: at(13), ExpiresAt: at(14),
		Status: session.Error, LastError: "the server ended by itself", RestartCount: 2, StopReason: session.StopIdle,
		Operation:   &session.Operation{Kind: session.OpDelete, Owner: "process-1", Deadline: at(15)},
		Links:       []session.Link{{Digest: "link", ExpiresAt: at(13)}},
		SignIns:     []session.SignIn{{ID: "in-1", Digest: "cookie", At: at(13), ExpiresAt: at(14), Browser: "Firefox"}},
		Timeline:    []session.Event{{At: at(16), Type: session.EventCreated, By: "operator"}, {At: at(17), Type: session.EventFailed, By: "berth", Reason: "it fell over"}},
		ImageSource: session.ImageChosen,
		Shape: session.Shape{
			Limits: session.Limits{Memory: 2 << 30, CPUs: 3 * session.OneCPU / 2, Processes: 300}, Env: session.Variables{"EDITOR": "vi"},
			Repository: "https://git.example/team/app.git", Ref: "main", Egress: session.EgressListed, Allow: []string{"packages"},
		},
		Upgrade: &session.Upgrade{
			Step: session.StepRevert, At: at(19), Image: "registry.example/image:2", ImageSource: session.ImageFromProfile,
			Previous: "registry.example/image:1", WasStopped: true, Failed: "the server exited with code 3 at start",
			Earlier: &session.Upgrade{Step: session.StepSwitch, At: at(18), Image: "registry.example/image:1", Previous: "registry.example/image:0"},
		},
		Metadata: map[string]any{"team": "red"},
	}
}

func numbered(n int) session.ID { return session.ID(fmt.Sprintf("ses-%03d", n)) }

func create(t *testing.T, store session.Store, s session.Session) session.Session {
	t.Helper()
	created, err := store.Create(t.Context(), s, session.Quota{})
	if err != nil {
		t.Fatalf("create %s: %v", s.ID, err)
	}
	return created
}

func update(t *testing.T, store session.Store, s session.Session) session.Session {
	t.Helper()
	updated, err := store.Update(t.Context(), s, session.Unlimited)
	if err != nil {
		t.Fatalf("update %s at revision %d: %v", s.ID, s.Revision, err)
	}
	return updated
}

func get(t *testing.T, store session.Store, id session.ID) session.Session {
	t.Helper()
	s, err := store.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("get %s: %v", id, err)
	}
	return s
}

func touch(t *testing.T, store session.Store, activity map[session.ID]time.Time) {
	t.Helper()
	if err := store.Touch(t.Context(), activity); err != nil {
		t.Fatalf("touch %d sessions: %v", len(activity), err)
	}
}

func list(t *testing.T, store session.Store, q session.Query) session.Page {
	t.Helper()
	page, err := store.List(t.Context(), q)
	if err != nil {
		t.Fatalf("list %+v: %v", q, err)
	}
	return page
}

func ids(sessions []session.Session) []session.ID {
	found := []session.ID{}
	for _, s := range sessions {
		found = append(found, s.ID)
	}
	return found
}

func wantCode(t tb, err error, want session.Code, why string) {
	t.Helper()
	if got := session.CodeOf(err); got != want {
		t.Errorf("%s: got the code %q (%v), want %q", why, got, err, want)
	}
}

// wantSame compares sessions as JSON would: metadata that is nil is metadata that is empty, and a number is its digits.
func wantSame(t tb, got, want session.Session, why string) {
	t.Helper()
	if len(got.Metadata) == 0 {
		got.Metadata = nil
	}
	want.Metadata = plain(t, want.Metadata)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", why, diff)
	}
	times := map[string]time.Time{
		"CreatedAt": got.CreatedAt, "LastAccessed": got.LastAccessed, "ExpiresAt": got.ExpiresAt,
		"TokenExpiresAt": got.Token.ExpiresAt, "TokenRotatedAt": got.Token.RotatedAt,
		"PreviousTokenExpiresAt": got.Token.PreviousExpiresAt,
	}
	if got.Operation != nil {
		times["Operation.Deadline"] = got.Operation.Deadline
	}
	for name, when := range times {
		if when.Location() != time.UTC {
			t.Errorf("%s: %s is in %s, want UTC", why, name, when.Location())
		}
	}
}

func plain(t tb, metadata session.Metadata) session.Metadata {
	t.Helper()
	if len(metadata) == 0 {
		return nil
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		t.Fatalf("write metadata: %v", err)
	}
	var back session.Metadata
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("read metadata: %v", err)
	}
	return back
}
