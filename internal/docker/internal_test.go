package docker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"berth/internal/session"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
)

func TestPublishIP(t *testing.T) {
	t.Parallel()
	names := map[string][]string{
		"host.docker.internal": {"fdc4:f303:9324::254", "172.17.0.1"},
		"localhost":            {"::1", "127.0.0.1"},
		"engine.example":       {"93.184.216.34"},
		"overlay.example":      {"100.101.102.103"},
	}
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		var found []netip.Addr
		for _, text := range names[host] {
			found = append(found, netip.MustParseAddr(text))
		}
		if found == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return found, nil
	}
	for name, c := range map[string]struct {
		setting, host, want string
		code                session.Code
	}{
		"socket":                  {"auto", "unix:///run/docker.sock", "127.0.0.1", ""},
		"empty is auto":           {"", "tcp://127.0.0.1:2376", "127.0.0.1", ""},
		"localhost":               {"auto", "tcp://localhost:2376", "127.0.0.1", ""},
		"IPv6 loopback":           {"auto", "tcp://[::1]:2376", "::1", ""},
		"bridge gateway":          {"auto", "tcp://host.docker.internal:2376", "172.17.0.1", ""},
		"private address":         {"auto", "tcp://10.1.2.3:2376", "10.1.2.3", ""},
		"overlay network":         {"auto", "tcp://overlay.example", "100.101.102.103", ""},
		"public name":             {"auto", "tcp://engine.example:2376", "", session.CodeInvalid},
		"public address":          {"auto", "tcp://93.184.216.34:2376", "", session.CodeInvalid},
		"unknown name":            {"auto", "tcp://nowhere.example:2376", "", session.CodeEngineUnavailable},
		"set":                     {"192.168.7.7", "tcp://engine.example:2376", "192.168.7.7", ""},
		"set to a public one":     {"93.184.216.34", "tcp://engine.example:2376", "93.184.216.34", ""},
		"all addresses":           {"0.0.0.0", "unix:///run/docker.sock", "", session.CodeInvalid},
		"all IPv6 addresses":      {"::", "unix:///run/docker.sock", "", session.CodeInvalid},
		"all, mapped":             {"::ffff:0.0.0.0", "unix:///run/docker.sock", "", session.CodeInvalid},
		"a name where an IP goes": {"localhost", "unix:///run/docker.sock", "", session.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, err := parseEndpoint(c.host, nil)
			if err != nil {
				t.Fatalf("parse %s: %v", c.host, err)
			}
			got, err := publishIP(t.Context(), c.setting, at, resolve)
			if session.CodeOf(err) != c.code || err == nil && got.String() != c.want {
				t.Errorf("publish address = %v, %v; want %q, code %q", got, err, c.want, c.code)
			}
		})
	}
}

func frame(stream byte, text string) []byte {
	out := []byte{stream, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(out[4:], uint32(len(text)))
	return append(out, text...)
}

func plain(data []byte) *plainLog {
	return &plainLog{frames: io.NopCloser(bytes.NewReader(data)), end: func(error) {}}
}

func TestLogFramesAreRemoved(t *testing.T) {
	t.Parallel()
	data := append(frame(1, "out\n"), append(frame(2, ""), frame(2, "err\n")...)...)
	if err := iotest.TestReader(plain(data), []byte("out\nerr\n")); err != nil {
		t.Error(err)
	}
	cut, err := io.ReadAll(plain(data[:len(data)-2]))
	if string(cut) != "out\ner" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a truncated log reads %q, %v; want its text and io.ErrUnexpectedEOF", cut, err)
	}
	if _, err := io.ReadAll(plain(frame(3, "log driver broke"))); err == nil || !bytes.Contains([]byte(err.Error()), []byte("log driver broke")) {
		t.Errorf("error = %v, want the engine's message", err)
	}
	if _, err := io.ReadAll(plain([]byte("plain text, no frames"))); err == nil {
		t.Error("text without frames was read as a log, want an error")
	}
}

func FuzzPlainLog(f *testing.F) {
	f.Add(append(frame(1, "out\n"), frame(2, "err\n")...))
	f.Add(frame(3, "x"))
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := io.ReadAll(plain(data))
		if len(text) > len(data) {
			t.Errorf("%d bytes of log from %d bytes of frames, want fewer", len(text), len(data))
		}
		if again, err2 := io.ReadAll(iotest.OneByteReader(plain(data))); !bytes.Equal(text, again) || (err == nil) != (err2 == nil) {
			t.Errorf("read in small pieces: %q, %v; want as in large ones: %q, %v", again, err2, text, err)
		}
	})
}

func TestStatsExcludePageCache(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		usage uint64
		stats map[string]uint64
		want  session.Bytes
	}{
		"cgroup v1":       {1000, map[string]uint64{"total_inactive_file": 300, "inactive_file": 1}, 700},
		"cgroup v2":       {1000, map[string]uint64{"inactive_file": 400}, 600},
		"nothing known":   {1000, nil, 1000},
		"more than usage": {100, map[string]uint64{"inactive_file": 400}, 0},
	} {
		got := statsOf(container.StatsResponse{
			MemoryStats: container.MemoryStats{Usage: c.usage, Limit: 5000, Stats: c.stats},
			CPUStats:    container.CPUStats{CPUUsage: container.CPUUsage{TotalUsage: 1_500_000_000}},
			PidsStats:   container.PidsStats{Current: 7},
		})
		want := session.Stats{Memory: c.want, MemoryLimit: 5000, CPU: 1500 * time.Millisecond, PIDs: 7}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestStateOf(t *testing.T) {
	t.Parallel()
	for engine, want := range map[container.ContainerState]session.State{
		"created": session.StateStopped, "exited": session.StateStopped, "running": session.StateRunning, "paused": session.StatePaused,
		"removing": session.StateDead, "dead": session.StateDead, "restarting": session.StateChanging,
		"checkpointed": session.StateChanging, "": session.StateChanging, // of future engines
	} {
		if got := stateOf(engine); got != want {
			t.Errorf("%q: got %q, want %q", engine, got, want)
		}
		if got, want := hasProcesses(stateOf(engine)), want != session.StateStopped && want != session.StateDead; got != want {
			t.Errorf("%q may have processes: got %v, want %v", engine, got, want)
		}
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	for engine, want := range map[events.Action]session.Action{
		"create": session.ActionCreated, "start": session.ActionStarted, "kill": session.ActionSignalled, "oom": session.ActionOutOfMemory,
		"die": session.ActionEnded, "destroy": session.ActionRemoved, "pause": "", "exec_die": "", "health_status: healthy": "", "": "",
	} {
		got, known := event(events.Message{Action: engine})
		if got.Action != want || known != (want != "") {
			t.Errorf("%q: got %q, known %v; want %q", engine, got.Action, known, want)
		}
	}
	for text, want := range map[string]syscall.Signal{
		"9": syscall.SIGKILL, "KILL": syscall.SIGKILL, "SIGKILL": syscall.SIGKILL, "15": syscall.SIGTERM, "TERM": syscall.SIGTERM,
		"SIGTERM": syscall.SIGTERM, "sigterm": syscall.SIGTERM, "1": syscall.SIGHUP, "": 0, "SIG": 0, "no such signal": 0,
	} {
		got, _ := event(events.Message{Action: events.ActionKill, Actor: events.Actor{Attributes: map[string]string{"signal": text}}})
		if got.Signal != want {
			t.Errorf("signal %q: got %d, want %d", text, got.Signal, want)
		}
	}
}

// A container that an earlier version made from the same settings has not drifted: its digest is of the same numbers.
func TestCPULimitIsExactToTheMicrosecond(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		memory                   session.Bytes
		quota, period, processes int64
		digest                   string
	}{
		{4 << 30, 100_000, 100_000, 512, "limits=116d7f25c0f49e6c"},
		{600 << 20, 70_000, 50_000, 123, "limits=0f99bc33441711d5"},
		{600 << 20, 33_333, 99_999, 123, "limits=0de9d6b416266a5c"},
	} {
		r := &Runtime{cpuPeriod: time.Duration(tt.period) * time.Microsecond}
		asked, err := r.containerOptions(session.Spec{Limits: session.Limits{
			Memory: tt.memory, CPUs: session.CPUsOf(tt.quota, tt.period), Processes: tt.processes,
		}}, "", attachment{direct: true})
		if err != nil {
			t.Fatal(err)
		}
		h := asked.HostConfig
		if h.CPUQuota != tt.quota || h.CPUPeriod != tt.period || h.NanoCPUs != 0 || h.Memory != int64(tt.memory) || *h.PidsLimit != tt.processes {
			t.Errorf("got %+v, want %+v", h.Resources, tt)
		}
		if got := asked.Config.Labels[labelSpec]; !strings.Contains(got, tt.digest) {
			t.Errorf("%d of %d: got %q, want %q in it", tt.quota, tt.period, got, tt.digest)
		}
	}
}
