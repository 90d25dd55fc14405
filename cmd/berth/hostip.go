package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"berth/internal/config"
	"berth/internal/hostip"
)

type hostipCmd struct {
	configFlags
	format
	Port uint16 `placeholder:"PORT" help:"Published port of a running session: its server must answer. Default: the engine's port, of DOCKER_HOST: it must speak TLS."`
}

// Help is shown by berth hostip --help.
func (hostipCmd) Help() string {
	return `Tries the candidates for the Docker host's address in order of precedence: host.docker.internal; DOCKER_HOST_GATEWAY and
GATEWAY; the default route; the network of the outgoing interface; Docker's usual addresses. HOST_IP overrides them all.
Berth does the same for a session's port where the address is not known otherwise, and repeats it after five minutes, or
when a connection fails.

Exit codes: 0 an address answers; 6 none answers, HOST_IP included.

Examples:

    berth hostip
    berth hostip --port 32768
    HOST_IP=192.168.1.100 berth hostip --output json`
}

// hostipReport is what berth hostip --output json prints.
type hostipReport struct {
	Address    string            `json:"address,omitempty"`
	Source     hostip.Source     `json:"source,omitempty"`
	Port       uint16            `json:"port"`
	Candidates []hostipCandidate `json:"candidates"`
}

type hostipCandidate struct {
	Source  hostip.Source `json:"source"`
	Address string        `json:"address,omitempty"`
	Answers bool          `json:"answers"`
	Reason  string        `json:"reason,omitempty"`
}

// Run implements "berth hostip".
func (c hostipCmd) Run(ctx context.Context, std *stdio, cfg config.Config) error {
	port, try := c.Port, hostip.IsSession
	if port == 0 {
		try = hostip.IsEngine
		var err error
		if port, err = enginePort(cfg.Docker.Host); err != nil {
			return usageError(err)
		}
	}
	found, err := hostip.New(hostip.Options{
		HostIP: cfg.Docker.ReachedAt, DockerHostGateway: cfg.Docker.HostGateway, Gateway: cfg.Docker.Gateway, Try: try,
	}).Detect(ctx, port)
	report := reportOf(found)
	if err := c.table(std, report, report.rows()); err != nil {
		return err
	}
	if err == nil && found.Source == hostip.Forced && found.Candidates[0].Err != nil {
		return &commandError{
			code: exitUnavailable, err: fmt.Errorf("nothing answers at HOST_IP %s, port %d: %w", found.Addr, port, found.Candidates[0].Err),
			hint: "it is used nevertheless; unset HOST_IP to have the address detected",
		}
	}
	return err
}

func reportOf(r hostip.Result) hostipReport {
	report := hostipReport{Source: r.Source, Port: r.Port, Candidates: []hostipCandidate{}}
	if r.Addr.IsValid() {
		report.Address = r.Addr.String()
	}
	for _, c := range r.Candidates {
		row := hostipCandidate{Source: c.Source, Answers: c.Err == nil}
		if c.Addr.IsValid() {
			row.Address = c.Addr.String()
		}
		if c.Err != nil {
			row.Reason = c.Err.Error()
		}
		report.Candidates = append(report.Candidates, row)
	}
	return report
}

// rows is the report as a table.
func (r hostipReport) rows() [][]string {
	rows := [][]string{{"SOURCE", "ADDRESS", "RESULT"}}
	for _, c := range r.Candidates {
		result := c.Reason
		if c.Answers {
			result = fmt.Sprintf("answers on port %d", r.Port)
		}
		if c.Address != "" && c.Address == r.Address && c.Source == r.Source {
			result += "; used"
		}
		rows = append(rows, []string{string(c.Source), c.Address, result})
	}
	return rows
}

// enginePort is the port of an endpoint.
func enginePort(endpoint string) (uint16, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Port() == "" {
		return 0, fmt.Errorf("DOCKER_HOST %q has no port to try; give one with --port", endpoint)
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return uint16(n), err
}
