package dockerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
)

// planner collects what Plan finds.
type planner struct {
	*Setup
	plan    *Plan
	command command
	flags   []string
	current document // daemon.json
	hosts   []string // where the engine is configured to listen now, by its command line and by daemon.json
	info    system.Info
	inUse   error // an address on which something else listens now
}

func (p *planner) readJournal(context.Context) error {
	j, err := loadJournal(p.paths.journal)
	if err != nil {
		return err
	}
	if j != nil && j.State == undoing {
		return refuse(`complete it with "berth docker setup-tls --undo"`, "an undo was interrupted")
	}
	p.plan.journal = j
	p.plan.Resumes = j != nil && j.Run != nil
	return nil
}

func (p *planner) readService(ctx context.Context) (err error) {
	if _, err = p.restarts(); err != nil {
		return err
	}
	if p.command, err = p.Setup.command(ctx); err != nil {
		return err
	}
	if other := flagValue(p.command.line, "--config-file"); other != "" && other != p.paths.config {
		return refuse("remove --config-file from the unit", "%s reads %s, not %s", serviceUnit, other, p.paths.config)
	}
	p.plan.engine = p.command.engine()
	if p.plan.newer, err = p.validates(ctx, p.plan.engine); err != nil {
		return err
	}
	p.flags, err = p.command.flags()
	return err
}

func (p *planner) readConfig(context.Context) error {
	_, data, err := look(p.paths.config)
	if err != nil {
		return fmt.Errorf("read the engine's configuration: %w", err)
	}
	if p.current, err = parseDocument(data); err != nil {
		return refuse("correct it first: no change of a malformed file is safe", "%s is malformed: %w", p.paths.config, err)
	}
	configured, err := p.current.strings("hosts")
	if err != nil {
		return refuse("correct it first", "%s is malformed: %w", p.paths.config, err)
	}
	_, p.hosts = strip(p.command.line)
	p.hosts = append(p.hosts, configured...)
	return nil
}

// findEngine finds where the engine answers now, so that a later check can wait until it answers there again.
func (p *planner) findEngine(ctx context.Context) (err error) {
	candidates := append(slices.Clone(p.hosts), "unix://"+p.paths.socket)
	for _, scheme := range []string{"unix://", "tcp://"} {
		i := slices.IndexFunc(candidates, func(h string) bool { return strings.HasPrefix(h, scheme) && p.answers(ctx, h) == nil })
		if i >= 0 {
			p.plan.Engine = candidates[i]
			break
		}
	}
	if strings.HasPrefix(p.plan.Engine, "unix://") {
		if p.info, err = p.Setup.info(ctx, p.plan.Engine); err != nil {
			return fmt.Errorf("ask the engine on %s about itself: %w", p.plan.Engine, err)
		}
		p.plan.Version = p.info.ServerVersion
	}
	return ctx.Err()
}

// checkListen finds out ahead of a restart what would keep the engine from listening.
func (p *planner) checkListen(ctx context.Context) error {
	for _, l := range p.opts.Listen {
		if l.Addr().IsUnspecified() {
			p.note("the engine will listen on every address of this machine: let a firewall admit only trusted clients to port %d", l.Port())
		} else if err := p.checkAddress(l.Addr()); err != nil {
			return err
		}
		if !listensOn(p.hosts, l.Port()) && p.answers(ctx, "tcp://"+dialAddress(l)) == nil {
			p.inUse = refuse("stop what listens there, berth guard perhaps, or choose another address with --listen", "%s is in use", l)
		}
		host := l.Addr().String()
		if !l.Addr().IsUnspecified() && p.leaf.VerifyHostname(host) != nil {
			p.note("the server certificate does not name %s: clients have to use one of its names, such as %s", host, p.serverName(l))
		}
	}
	return nil
}

func (p *planner) checkAddress(addr netip.Addr) error {
	owner, err := p.host.Interface(addr)
	if err != nil {
		return err
	}
	if owner == "" {
		return refuse("choose an address of this machine with --listen", "no network interface has the address %s", addr)
	}
	if engineBridge.MatchString(owner) {
		return refuse("let the engine listen elsewhere; for containers, run berth guard on this address",
			"%s is the address of %s: every container could reach the engine there", addr, owner)
	}
	return nil
}

func (p *planner) note(format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf(format, args...))
}

// want plans a file, unless it is as it should be. With nil data the file is to be removed.
func (p *planner) want(step, path string, data []byte, mode fs.FileMode) error {
	now, there, err := look(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if now.Dir {
		return refuse("move it away", "%s is a directory", path)
	}
	if mode == 0 { // as it is
		mode = 0o644
		if !now.Absent {
			mode = now.Mode.Perm()
		}
	}
	strange := step == stepCertificates && now.UID != os.Geteuid()
	if now.Absent != (data == nil) || string(there) != string(data) || data != nil && (now.Mode.Perm() != mode || strange) {
		p.plan.files = append(p.plan.files, write{step: step, now: now, data: data, mode: mode})
	}
	return nil
}

// wantDir plans a directory with all of its parents that are missing. With mode 0 an existing one keeps its mode.
func (p *planner) wantDir(path string, mode fs.FileMode) error {
	now, _, err := look(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if now.Absent {
		if err := p.wantDir(filepath.Dir(path), 0); err != nil {
			return err
		}
	} else if !now.Dir {
		return refuse("move it away", "%s is not a directory", path)
	}
	wanted := mode
	if wanted == 0 {
		wanted = 0o755
	}
	for _, d := range p.plan.dirs {
		if d.now.Path == path {
			return nil
		}
	}
	if now.Absent || mode != 0 && now.Mode.Perm() != mode {
		p.plan.dirs = append(p.plan.dirs, directory{now, wanted})
	}
	return nil
}

func (p *planner) planCertificates(context.Context) error {
	if err := p.wantDir(p.paths.dockerDir, 0); err != nil {
		return err
	}
	if err := p.wantDir(p.paths.certDir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		p.want(stepCertificates, p.paths.key, p.opts.Server.Key, 0o400),
		p.want(stepCertificates, p.paths.cert, p.opts.Server.Cert, 0o444),
		p.want(stepCertificates, p.paths.ca, p.opts.Server.CA, 0o444),
	)
}

func (p *planner) planConfig(context.Context) error {
	hosts := hostList(localSockets(p.hosts, p.paths.socket), p.opts.Listen)
	swarm := p.info.Swarm.LocalNodeState != "" && p.info.Swarm.LocalNodeState != swarm.LocalNodeStateInactive
	merged, changes, err := merge(p.current, settings(p.paths, hosts), func(s setting) bool { return s.key == "live-restore" && swarm || p.flagged(s.key) })
	if err != nil {
		return refuse("correct it first", "%s is malformed: %w", p.paths.config, err)
	}
	for _, c := range changes {
		if p.flagged(c.key) {
			return refuse("remove the flag: daemon.json takes its place", "the engine's command line sets --%s, which daemon.json has to set", c.key)
		}
	}
	if swarm && !p.current.decodeBool("live-restore") {
		p.note("this engine is part of a Swarm, which excludes live-restore: its containers stop whenever the engine restarts")
	}
	if string(p.current.raw("bridge")) == `"none"` {
		p.note(`daemon.json keeps "bridge": "none": a container that names no network silently gets none; those of Berth name one`)
	}
	if len(changes) == 0 {
		return nil
	}
	return p.want(stepConfig, p.paths.config, merged.bytes(), 0)
}

// planIsolation plans the chains that close this machine to sessions, and returns the programs that have to set them again
// after a reboot.
func (p *planner) planIsolation(ctx context.Context) (programs []string, err error) {
	if p.opts.NoFirewall {
		p.plan.reopen = p.plan.journal != nil && p.plan.journal.first().Isolated
		return nil, nil
	}
	if p.plan.isolation, err = p.isolationOf(ctx, p.plan.Engine); err != nil {
		return nil, err
	}
	states, err := p.lookAtChains(ctx, p.plan.isolation)
	if err != nil {
		return nil, refuse("run as root; without iptables, or with rules of your own, give --no-firewall", "%w", err)
	}
	for _, state := range states {
		programs = append(programs, state.program)
	}
	p.plan.chains = outdated(states)
	return programs, nil
}

func (p *planner) flagged(key string) bool {
	return slices.ContainsFunc(p.flags, func(flag string) bool { return isFlagOf(flag, key) })
}

func (p *planner) planFirewall(ctx context.Context) error {
	var rules []Rule
	if !p.opts.NoFirewall {
		owner := map[netip.Addr]string{}
		for _, l := range p.opts.Listen {
			var err error
			if owner[l.Addr()], err = p.host.Interface(l.Addr()); err != nil {
				return err
			}
		}
		var notes []string
		rules, notes = rulesFor(p.opts.Listen, owner)
		p.plan.Notes = append(p.plan.Notes, notes...)
	}
	for _, r := range rules {
		there, err := p.hasRule(ctx, r)
		if err != nil {
			return refuse("run as root; without iptables, or with rules of your own, give --no-firewall", "%w", err)
		}
		if !there {
			p.plan.rules = append(p.plan.rules, r)
		}
	}
	if p.plan.journal != nil {
		p.plan.old = slices.DeleteFunc(slices.Clone(p.plan.journal.first().Rules), func(old Rule) bool {
			return slices.ContainsFunc(rules, func(r Rule) bool { return r.String() == old.String() })
		})
	}
	programs, err := p.planIsolation(ctx)
	if err != nil {
		return err
	}
	if !p.hasSystemd() {
		for _, r := range p.plan.rules {
			p.note("this firewall rule is gone after a reboot unless you make it persistent: %s", r)
		}
		if len(p.plan.chains) > 0 {
			p.note("the chains %s and %s are gone after a reboot: let \"berth docker firewall --yes\" run at each start of the engine", InputChain, ForwardChain)
		}
		return nil
	}
	rest, _ := strip(p.command.line)
	text := dropInText(p.command.line, rest, rules, p.plan.isolation, programs...)
	if text == "" {
		return p.want(stepDropIn, p.paths.dropIn, nil, 0o644)
	}
	if err := p.wantDir(filepath.Dir(p.paths.dropIn), 0); err != nil {
		return err
	}
	return p.want(stepDropIn, p.paths.dropIn, []byte(text), 0o644)
}

// planRestart restarts the engine when it has something new to read, when an interrupted set-up may have left it without
// its restart, and when it is not what it should be.
func (p *planner) planRestart(ctx context.Context) error {
	unread := p.plan.Resumes && (len(p.plan.journal.Run.Files) > 0 || p.plan.journal.Run.Restarting)
	p.plan.restart = len(p.plan.files) > 0 || unread || p.Verify(ctx) != nil
	if p.plan.restart && p.info.ContainersRunning > 0 && !p.info.LiveRestoreEnabled {
		p.note("live-restore is off in the running engine: the restart stops %d running containers", p.info.ContainersRunning)
	}
	return ctx.Err()
}
