package app_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/internal/config"
	"berth/internal/devicetest"
	"berth/internal/dockertest"
	"berth/internal/httpapi"
	"berth/internal/porttest"
	"berth/internal/probe"
	"berth/internal/session"
	"berth/internal/waittest"
)

// settings2 runs sessions of the profile for OpenCode's 2.x line, with the stub server, to which devices may pair.
func settings2(t *testing.T) config.Config {
	t.Helper()
	cfg := settings(t)
	p := cfg.Profiles["opencode2"]
	p.Command, p.Env = cfg.Profiles["opencode"].Command, cfg.Profiles["opencode"].Env
	cfg.Profiles["opencode2"] = p
	cfg.Session.Profile, cfg.Session.Devices, cfg.Session.DeviceDays = "opencode2", true, 2
	cfg.Token.ExpiryHours = 72
	return cfg
}

// client2 is a client of the 2.x line at a session's own origin.
func (b *berth) client2(t *testing.T, made httpapi.NewSession) *devicetest.Client {
	t.Helper()
	for _, at := range made.Addresses {
		if strings.Contains(at.URL, ".localhost") {
			c, err := devicetest.New(at.URL, b.Addr().String(), made.Token)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			return c
		}
	}
	t.Fatalf("no name below localhost among %+v", made.Addresses)
	return nil
}

// devices lists a session's sign-ins, all of which must be devices.
func (b *berth) devices(t *testing.T, id session.ID) []httpapi.SessionSignIn {
	t.Helper()
	var list struct {
		SignIns []httpapi.SessionSignIn `json:"sign_ins"`
	}
	b.call(t, http.MethodGet, "/sessions/"+string(id)+"/sign-ins", b.adminToken(t), &list)
	for _, in := range list.SignIns {
		if in.Kind != "device" {
			t.Errorf("got %+v, want a device", in)
		}
	}
	return list.SignIns
}

// A device stays paired through a restart of Berth, and until it is signed out or the session's token is rotated.
func TestDeviceStaysPairedUntilItIsEnded(t *testing.T) {
	t.Parallel()
	cfg := settings2(t)
	b := start(t, cfg)
	var made httpapi.NewSession
	if status := b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &made); status != http.StatusCreated {
		t.Fatalf("create: got %d", status)
	}
	c := b.client2(t, made)
	pair := func(name string) *devicetest.Client {
		t.Helper()
		device, err := c.Paired(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return device
	}
	phone := pair("phone")
	if _, err := c.As(b.adminToken(t)).Pair(t.Context(), ""); err != nil {
		t.Errorf("the operator makes a code: %v", err)
	}
	b.end(t)

	b = start(t, cfg)
	for _, client := range []**devicetest.Client{&c, &phone} {
		again := b.client2(t, made) // Berth has another port now
		again.Origin, again.Password = strings.Replace(again.Origin, again.Origin[strings.LastIndex(again.Origin, ":"):], port(b), 1), (*client).Password
		*client = again
	}
	if err := phone.Info(t.Context()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	tablet := pair("tablet")
	listed := b.devices(t, made.ID)
	if len(listed) != 2 || listed[0].Browser != "phone" || listed[1].Browser != "tablet" || listed[1].ExpiresAt.Sub(listed[1].At) != 48*time.Hour {
		t.Fatalf("got %+v", listed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := phone.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b.call(t, http.MethodDelete, "/sessions/"+string(made.ID)+"/sign-ins/"+listed[0].ID, b.adminToken(t), nil)
	ended := time.Now()
	for range events {
	}
	if took := time.Since(ended); took > time.Second {
		t.Errorf("its stream ended after %s, want within 1 s", took)
	}
	if err := phone.Info(t.Context()); err == nil {
		t.Error("a device that was signed out is let in")
	}
	if err := tablet.Info(t.Context()); err != nil {
		t.Errorf("another device: %v", err)
	}
	b.call(t, http.MethodPost, "/sessions/"+string(made.ID)+"/auth/rotate", b.adminToken(t), nil)
	if err := tablet.Info(t.Context()); err == nil || len(b.devices(t, made.ID)) != 0 {
		t.Errorf("after a rotation: %v, %+v", err, b.devices(t, made.ID))
	}
}

// port is that of a Berth, with its colon.
func port(b *berth) string {
	address := b.Addr().String()
	return address[strings.LastIndex(address, ":"):]
}

// A server of the 2.x line that has not taken its password lets everybody in.
func TestServerWithoutAPasswordIsNotReady(t *testing.T) {
	t.Parallel()
	cfg := settings2(t)
	cfg.Session.StartTimeout = config.Seconds(2 * time.Second)
	p := cfg.Profiles["opencode2"]
	p.Env = map[string]string{"STUB_STATE": ".", "STUB_MODE": "open"}
	cfg.Profiles["opencode2"] = p
	b, log := startLogged(t, cfg)
	res, text := b.ask(t, http.MethodPost, "/sessions", b.adminToken(t))
	why := fmt.Sprint(log.lines(t))
	if res.StatusCode != http.StatusGatewayTimeout || !strings.Contains(why, "without the password") {
		t.Errorf("got %s %s, want a time-out, and the reason in the log: %s", res.Status, text, why)
	}
}

func TestProfileOfOpenCode2TellsReadyAndBusy(t *testing.T) {
	t.Parallel()
	p := config.Default().Profiles["opencode2"]
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, variable := range p.PasswordVariables() {
		at := porttest.Free(t)
		server := exec.CommandContext(t.Context(), dockertest.BuildStub(t), "-hostname", "127.0.0.1", "-port", strconv.Itoa(at))
		server.Env = append(os.Environ(), "STUB_STATE="+t.TempDir(), variable+"=secret")
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
		target := session.Target{Address: "127.0.0.1:" + strconv.Itoa(at), Credential: "secret", Profile: &p}
		prober := probe.New()
		waittest.Until(t, "the server is ready", func() error { return prober.Probe(t.Context(), target) })
		c, err := devicetest.New("http://"+target.Address, "", "secret")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		for _, working := range []bool{false, true} {
			var got map[string]bool
			if err := c.Call(t.Context(), http.MethodPost, "/work?on="+strconv.FormatBool(working), "", &got); err != nil {
				t.Fatal(err)
			}
			if busy, err := prober.Busy(t.Context(), target); err != nil || busy != working {
				t.Errorf("working %v: got %v, %v", working, busy, err)
			}
		}
	}
}
