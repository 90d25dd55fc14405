package docker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"berth/internal/session"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// verify compares the container with its specification. An engine, or a proxy in front of it, that drops a field must be
// detected: the container would run with less protection than configured.
func verify(asked client.ContainerCreateOptions, got container.InspectResponse, warnings []string) error {
	if got.HostConfig == nil || got.Config == nil {
		return session.Errorf(session.CodeInternal, "the engine does not report the container's configuration, so the container was removed")
	}
	faults := weakened(asked, *got.HostConfig, *got.Config)
	if len(faults) == 0 {
		return nil
	}
	return session.Errorf(session.CodeInternal,
		"the engine did not apply what protects a session (%s), so the container was removed: "+
			"run \"berth doctor\", and see that the engine's kernel has these limits", strings.Join(faults, ", ")).
		Because(fmt.Errorf("engine warnings: %q", warnings))
}

// weakened names the fields that differ from the specification.
func weakened(asked client.ContainerCreateOptions, got container.HostConfig, config container.Config) []string {
	want := asked.HostConfig
	var faults []string
	must := func(ok bool, field string) {
		if !ok {
			faults = append(faults, field)
		}
	}
	must(config.User == asked.Config.User, "user")
	must(holds(config.Labels, asked.Config.Labels), "labels")

	must(!got.Privileged, "privileged")
	must(len(got.CapAdd) == 0, "capabilities added")
	must(slices.ContainsFunc(got.CapDrop, func(c string) bool { return strings.TrimPrefix(c, "CAP_") == "ALL" }), "capabilities dropped")
	must(slices.ContainsFunc(got.SecurityOpt, isNoNewPrivileges), "no new privileges")
	must(!slices.ContainsFunc(got.SecurityOpt, isUnconfined), "security options")
	must(!slices.Contains(want.SecurityOpt, sessionSeccomp) || slices.Contains(got.SecurityOpt, sessionSeccomp), "seccomp profile")
	must(!slices.ContainsFunc(got.SecurityOpt, isForeignSeccomp), "foreign seccomp profile")
	must(got.ReadonlyRootfs, "read-only root")
	must(len(got.MaskedPaths) > 0 && len(got.ReadonlyPaths) > 0, "masked paths")
	must(len(got.Devices)+len(got.DeviceRequests)+len(got.DeviceCgroupRules) == 0, "devices")
	must(len(got.GroupAdd) == 0, "groups")
	must(len(got.Sysctls) == 0, "sysctls")

	must(got.IpcMode.IsPrivate(), "private ipc namespace")
	must(got.CgroupnsMode == want.CgroupnsMode, "private cgroup namespace")
	must(got.PidMode == "", "pid namespace")
	must(got.UTSMode == "", "uts namespace")
	must(got.UsernsMode == "", "user namespace")

	must(got.Memory == want.Memory, "memory limit")
	must(got.MemorySwap == want.MemorySwap, "swap limit")
	must(got.OomKillDisable == nil || !*got.OomKillDisable, "oom killer")
	must(got.CPUQuota == want.CPUQuota && got.CPUPeriod == want.CPUPeriod, "cpu limit")
	must(got.PidsLimit != nil && *got.PidsLimit == *want.PidsLimit, "pids limit")
	must(sameUlimits(got.Ulimits, want.Ulimits), "ulimits")

	must(maps.Equal(got.Tmpfs, want.Tmpfs), "tmpfs")
	must(len(got.Binds)+len(got.VolumesFrom) == 0, "bind mounts")
	must(sameMounts(got.Mounts, want.Mounts), "volumes")

	must(got.NetworkMode == want.NetworkMode, "network")
	must(!got.PublishAllPorts && sameBindings(got, *want), "published port")
	must(slices.Equal(got.DNS, want.DNS) && slices.Equal(got.DNSSearch, want.DNSSearch) && len(got.DNSOptions) == 0, "name server")
	must(len(got.Links)+len(got.ExtraHosts) == 0, "links")

	must(got.Init != nil && *got.Init, "init")
	must(got.LogConfig.Type == want.LogConfig.Type && maps.Equal(got.LogConfig.Config, want.LogConfig.Config), "log rotation")
	must(got.RestartPolicy.IsNone() && !got.AutoRemove, "restart policy")
	return faults
}

func isNoNewPrivileges(option string) bool {
	return option == "no-new-privileges" || option == "no-new-privileges:true" || option == "no-new-privileges=true"
}

func isUnconfined(option string) bool {
	return strings.Contains(option, "unconfined") || strings.HasSuffix(option, "disable") ||
		option == "no-new-privileges:false" || option == "no-new-privileges=false"
}

func isForeignSeccomp(option string) bool {
	return strings.HasPrefix(option, "seccomp") && option != sessionSeccomp
}

func holds(got, want map[string]string) bool {
	for key, value := range want {
		if got[key] != value {
			return false
		}
	}
	return true
}

func sameUlimits(got, want []*container.Ulimit) bool {
	less := func(a, b *container.Ulimit) int { return strings.Compare(a.Name, b.Name) }
	return slices.EqualFunc(slices.SortedFunc(slices.Values(got), less), slices.SortedFunc(slices.Values(want), less),
		func(a, b *container.Ulimit) bool { return *a == *b })
}

func sameMounts(got, want []mount.Mount) bool {
	return slices.EqualFunc(got, want, func(a, b mount.Mount) bool {
		foreign := a.BindOptions != nil || a.ImageOptions != nil ||
			a.VolumeOptions != nil && a.VolumeOptions.DriverConfig != nil // a "local" volume can be a bind mount
		return a.Type == b.Type && a.Source == b.Source && a.Target == b.Target && !foreign
	})
}

func sameBindings(got, want container.HostConfig) bool {
	if len(got.PortBindings) != len(want.PortBindings) {
		return false
	}
	for port, asked := range want.PortBindings {
		bound := got.PortBindings[port]
		if len(bound) != 1 || bound[0].HostIP != asked[0].HostIP {
			return false
		}
	}
	return true
}
