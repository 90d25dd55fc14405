package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"berth/internal/fileset"
)

const (
	adviceDaemon = "berth docker setup-tls merges what is missing into /etc/docker/daemon.json"
	// Valid also for an engine behind a guard, where setup-tls would add a second TLS port.
	adviceLiveRestore = `add "live-restore": true to the engine's daemon.json (of Debian's service: /etc/docker/daemon.json) and let it read the file again ` +
		"(systemctl reload docker); " +
		"where the engine itself serves TLS, berth docker setup-tls does"
)

// daemonOptions checks the engine's options: those that it reports, and those in its configuration file if it runs on this
// machine.
func daemonOptions(ctx context.Context, o *Options) []Finding {
	findings := o.reportedOptions(ctx)
	if o.Engine != nil && o.engineIsHere(ctx) {
		findings = append(findings, o.daemonFile()...)
	}
	return findings
}

func (o *Options) reportedOptions(ctx context.Context) []Finding {
	info, none := o.info(ctx)
	if none != nil {
		return none
	}
	var findings []Finding
	has := func(option string) bool {
		return slices.ContainsFunc(info.SecurityOptions, func(o string) bool {
			return slices.Contains(strings.Split(strings.ReplaceAll(o, "name=", ""), ","), option)
		})
	}
	seccomp := slices.IndexFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "seccomp") })
	switch {
	case seccomp < 0:
		findings = append(findings, fail("no-seccomp", "use a kernel and an engine with seccomp", "the engine applies no seccomp profile: containers may use every system call"))
	case strings.Contains(info.SecurityOptions[seccomp], "unconfined"):
		findings = append(findings, fail("no-seccomp", `take "seccomp-profile": "unconfined" out of daemon.json`, "the engine's seccomp profile is switched off"))
	}
	if !info.LiveRestoreEnabled && info.Swarm.LocalNodeState != "active" {
		findings = append(findings, warn("no-live-restore", adviceLiveRestore, "live-restore is off: sessions end when the engine is restarted, as it must be for a new certificate"))
	}
	if info.Debug {
		findings = append(findings, warn("debug", `take "debug" out of daemon.json`, "the engine runs in debug mode"))
	}
	if info.RegistryConfig != nil {
		for _, prefix := range info.RegistryConfig.InsecureRegistryCIDRs {
			if !prefix.Addr().IsLoopback() {
				findings = append(findings, warn("insecure-registries", `take it out of "insecure-registries" in daemon.json`,
					"images are taken without TLS from registries in %s", prefix))
			}
		}
		for name, index := range info.RegistryConfig.IndexConfigs {
			if index != nil && !index.Secure {
				findings = append(findings, warn("insecure-registries", `take it out of "insecure-registries" in daemon.json`, "images are taken without TLS from %s", name))
			}
		}
	}
	layers := []string{}
	for _, option := range []string{"apparmor", "selinux", "userns", "rootless", "no-new-privileges"} {
		if has(option) {
			layers = append(layers, option)
		}
	}
	more := "none"
	if len(layers) > 0 {
		more = strings.Join(layers, ", ")
	}
	return orPass(findings, pass("options-good", "seccomp and live-restore are on; other layers: %s", more))
}

// daemonFile checks the options in daemon.json that the engine does not report.
func (o *Options) daemonFile() []Finding {
	text, err := fileset.ReadFile(o.DaemonConfig, maxFileSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Finding{skip("no-daemon-config", "there is no %s; what is on dockerd's command line is not seen", o.DaemonConfig)}
	case err != nil:
		return []Finding{skip("daemon-config-unreadable", "%v", err)}
	}
	var d struct {
		Hosts     []string `json:"hosts"`
		TLS       bool     `json:"tls"`
		TLSVerify bool     `json:"tlsverify"`
		IPTables  *bool    `json:"iptables"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return []Finding{warn("daemon-config-malformed", "correct the file: the engine's next start fails", "%s: %v", o.DaemonConfig, err).at(o.DaemonConfig, 0)}
	}
	var findings []Finding
	note := func(f Finding) { findings = append(findings, f.at(o.DaemonConfig, 0)) }
	tcp := slices.ContainsFunc(d.Hosts, func(h string) bool { return strings.HasPrefix(h, "tcp://") })
	if tcp && !d.TLSVerify {
		note(fail("tcp-without-tlsverify", adviceDaemon, "the engine listens on the network and does not demand client certificates"))
	} else if d.TLS && !d.TLSVerify {
		note(fail("tls-without-tlsverify", adviceDaemon, `"tls" without "tlsverify" encrypts, but does not authenticate clients`))
	}
	if d.IPTables != nil && !*d.IPTables {
		note(fail("iptables-off", `take "iptables": false out: berth docker setup-tls does`, "iptables is off: containers of different networks reach each other, "+
			"and published ports do not work"))
	}
	return orPass(findings, pass("daemon-config-good", "%s opens nothing", o.DaemonConfig))
}
