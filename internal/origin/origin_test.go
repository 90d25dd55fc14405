package origin

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth/internal/session"
)

func address(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestHostNamesTheOrigin(t *testing.T) {
	t.Parallel()
	public := New(Options{Domain: "ses.example", Public: address(t, "https://berth.example"), Listen: 8080})
	port := New(Options{Domain: "ses.example:8443", Public: address(t, "https://berth.example"), Listen: 8080, TLS: true})
	loopback := New(Options{Listen: 8080, Loopback: true})
	for _, c := range []struct {
		set   *Set
		host  string
		kind  Kind
		label string
	}{
		{public, "berth.example", Own, ""},
		{public, "BERTH.example:443", Own, ""},
		{public, "10.0.0.7:8080", Own, ""},
		{public, "[::1]:8080", Own, ""},
		{public, "berth", Own, ""},
		{public, "", Own, ""},
		{public, "berth.example.", Foreign, ""},
		{public, "other.example", Foreign, ""},
		{public, "ses.example", Foreign, ""},
		{public, "ses-one.ses.example", OfSession, "ses-one"},
		{public, "SES-one.ses.example:443", OfSession, "ses-one"},
		{public, "ses-one.ses.example:80", OfSession, "ses-one"},
		{public, "ses-one.ses.example:8080", Foreign, ""},
		{public, "ses-one.ses.example.", Foreign, ""},
		{public, "a.ses-one.ses.example", Foreign, ""},
		{public, ".ses.example", Foreign, ""},
		{public, "ses-one.localhost", Foreign, ""},
		{port, "ses-one.ses.example:8443", OfSession, "ses-one"},
		{port, "ses-one.ses.example", Foreign, ""},
		{loopback, "localhost:8080", Own, ""},
		{loopback, "127.0.0.1:8080", Own, ""},
		{loopback, "anything.example", Own, ""},
		{loopback, "ses-one.localhost:8080", OfSession, "ses-one"},
		{loopback, "ses-one.localhost:8081", Foreign, ""},
		{loopback, "ses-one.localhost.:8080", Foreign, ""},
		{nil, "ses-one.localhost:8080", Own, ""},
	} {
		if kind, label := c.set.Find(c.host); kind != c.kind || label != c.label {
			t.Errorf("%q: got %d %q, want %d %q", c.host, kind, label, c.kind, c.label)
		}
	}
}

func TestAddressesLeadBackToTheirSession(t *testing.T) {
	t.Parallel()
	both := New(Options{Domain: "ses.example", Public: address(t, "http://localhost:9000"), Listen: 8080})
	want := []Address{{ByHost, "http://ses-one.ses.example:9000/"}, {ByLocalhost, "http://ses-one.localhost:9000/"}}
	if got := both.Of("ses-one"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	want = append(want, Address{ByPath, "http://localhost:9000/s/ses-one/"})
	if got := both.All("ses-one"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for host, want := range map[string]string{"localhost:9000": want[1].URL, "127.0.0.1": want[1].URL, "berth.example": want[0].URL} {
		if got, ok := both.From("ses-one", host); got != want || !ok {
			t.Errorf("from %s: got %q, want %q", host, got, want)
		}
	}
	if got := New(Options{Listen: 8080}).All("ses-one"); len(got) != 0 {
		t.Errorf("got %v although Berth's own address is not known", got)
	}
	if _, ok := New(Options{Listen: 8080}).From("ses-one", "localhost"); ok {
		t.Error("a session has an origin although there is none")
	}
	for _, at := range want[:2] {
		if kind, label := both.Find(address(t, at.URL).Host); kind != OfSession || label != "ses-one" {
			t.Errorf("%s: got %d %q", at.URL, kind, label)
		}
	}
}

// Whatever an ID is, its label is that of a host name, leads back to the same kind of place, and is no other ID's.
func TestLabelsAreNamesOfHosts(t *testing.T) {
	t.Parallel()
	set := New(Options{Listen: 80, Loopback: true})
	rapid.Check(t, func(t *rapid.T) {
		id, err := session.ParseID(rapid.StringMatching(`[a-z0-9][a-z0-9_-]{0,62}`).Draw(t, "id"))
		if err != nil {
			t.Fatal(err)
		}
		label := Label(id)
		if len(label) > 63 || strings.ContainsAny(label, "_.") || strings.HasSuffix(label, "-") {
			t.Fatalf("%s: the label %q is none of a host name", id, label)
		}
		if kind, found := set.Find(label + ".localhost"); kind != OfSession || found != label {
			t.Fatalf("%s: got %d %q", label, kind, found)
		}
		if IsDerived(label) == (label == string(id)) {
			t.Fatalf("%s: label %q, derived %v", id, label, IsDerived(label))
		}
	})
}

// No Host header makes Find panic, and a label never has a dot.
func FuzzFind(f *testing.F) {
	for _, host := range []string{"", ":", "[", "]:", "a.localhost:80", "a.ses.example", "xn--a.localhost", "[::1]:80", "a..localhost"} {
		f.Add(host)
	}
	public, err := url.Parse("https://berth.example")
	if err != nil {
		f.Fatal(err)
	}
	set := New(Options{Domain: "ses.example", Public: public, Listen: 80, Loopback: true})
	f.Fuzz(func(t *testing.T, host string) {
		kind, label := set.Find(host)
		if (kind == OfSession) != (label != "") || strings.Contains(label, ".") {
			t.Errorf("%q: got %d %q", host, kind, label)
		}
	})
}
