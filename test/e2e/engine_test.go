package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/test/harness"
)

// nothingLeft checks that no container and no volume of this world exists.
func (w *fixture) nothingLeft(t *testing.T) {
	t.Helper()
	api := dockertest.Client(t)
	harness.Eventually(t, 20*time.Second, "nothing is left on the engine", func() error {
		if left := w.Containers(); len(left) > 0 {
			return fmt.Errorf("%d containers, the first is %s: %s", len(left), left[0].Names, left[0].State)
		}
		volumes, err := api.VolumeList(t.Context(), client.VolumeListOptions{Filters: w.Mine().Add("label", "berth.session")})
		if err == nil && len(volumes.Items) > 0 {
			err = fmt.Errorf("%d volumes, the first is %s", len(volumes.Items), volumes.Items[0].Name)
		}
		return err
	})
}

// checkHardening reads back from the engine what every session container must be.
func (w *fixture) checkHardening(t *testing.T, id string, limits session.Limits) {
	t.Helper()
	found, err := dockertest.Client(t).ContainerInspect(t.Context(), w.ContainerOf(id), client.ContainerInspectOptions{})
	harness.Must(t, err)
	c := found.Container
	h := c.HostConfig
	check := func(ok bool, what string, got any) {
		t.Helper()
		if !ok {
			t.Errorf("%s: got %v", what, got)
		}
	}
	check(len(h.CapDrop) == 1 && strings.EqualFold(h.CapDrop[0], "ALL") && len(h.CapAdd) == 0, "all capabilities are dropped", h.CapDrop)
	check(contains(h.SecurityOpt, "no-new-privileges"), "no-new-privileges is set", h.SecurityOpt)
	check(!contains(h.SecurityOpt, "unconfined"), "the default seccomp profile applies", h.SecurityOpt)
	check(!h.Privileged, "the container is not privileged", h.Privileged)
	check(h.ReadonlyRootfs, "the root is read-only", h.ReadonlyRootfs)
	check(h.Memory == int64(limits.Memory) && h.MemorySwap == h.Memory, "memory is limited, without swap", []int64{h.Memory, h.MemorySwap})
	check(h.CPUQuota == limits.CPUs.In(100_000) && h.CPUPeriod == 100_000, "CPU is limited", []int64{h.CPUQuota, h.CPUPeriod})
	check(h.PidsLimit != nil && *h.PidsLimit == limits.Processes, "processes are limited", h.PidsLimit)
	check(h.Init != nil && *h.Init, "an init reaps", h.Init)
	check(c.Config.User == "10001:10001", "the user is not root", c.Config.User)
	check(len(h.Binds) == 0 && len(h.Devices) == 0, "no host directory and no device is inside", []any{h.Binds, h.Devices})
	check(h.PidMode == "" && h.UTSMode == "" && !h.NetworkMode.IsHost() && !h.IpcMode.IsHost(), "no namespace is the host's", h)
	for path, options := range h.Tmpfs {
		check(strings.Contains(options, "size=") && strings.Contains(options, "nosuid"), "tmpfs "+path+" is sized and nosuid", options)
	}
	check(strings.Contains(h.Tmpfs["/tmp"], "exec") && !strings.Contains(h.Tmpfs["/tmp"], "noexec"), "/tmp allows programs", h.Tmpfs["/tmp"])
	published := 0
	for _, bindings := range c.NetworkSettings.Ports {
		for _, b := range bindings {
			published++
			check(b.HostIP.IsLoopback(), "the port is published on the loopback address only", b.HostIP)
		}
	}
	check(published == 1, "one port is published", published)
	volumes := map[string]bool{}
	for _, m := range c.Mounts {
		volumes[m.Destination] = true
		check(m.Type == "volume" || m.Type == "tmpfs", "mount "+m.Destination+" is a volume", m.Type)
	}
	check(volumes["/workspace"] && len(volumes) >= 2, "workspace and state have volumes of their own", volumes)
	check(c.Config.Labels["berth.session"] == id && c.Config.Labels["berth.created"] != "", "the labels name the session", c.Config.Labels)
}

func contains(list []string, part string) bool {
	for _, s := range list {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}
