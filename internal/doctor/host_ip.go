package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"berth/internal/config"
	"berth/internal/hostip"
)

// hostIP looks whether the engine's host is known here, which is where sessions are reached.
type hostIP struct{ Options }

func (hostIP) Name() string { return "host-ip" }

func (c hostIP) Run(ctx context.Context) []Finding {
	if c.Config.Session.Runtime == config.RuntimeProcess {
		return c.noTLS()
	}
	host, _ := c.engineHost()
	if host == "" {
		return []Finding{pass("local", "the engine is on this machine: sessions are reached at 127.0.0.1")}
	}
	addrs, err := c.engineAddrs(ctx)
	if err != nil || len(addrs) == 0 {
		remedy := "set DOCKER_HOST to a name or address that is known here, or make " + host + " known (DNS, /etc/hosts)"
		if host == "host.docker.internal" {
			remedy = `in a container: extra_hosts: ["host.docker.internal:host-gateway"]; elsewhere set DOCKER_HOST to the engine's address`
		}
		return []Finding{fail("host-unknown", remedy, "no address is known for the engine's host %s", host)}
	}
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	where := "on another machine"
	if c.engineIsHere(ctx) {
		where = "on this machine"
	}
	seen := fmt.Sprintf("the engine's host %s is %s, %s", host, strings.Join(texts, ", "), where)
	publish := c.Config.Session.PublishIP
	if where == "on another machine" && (publish == "127.0.0.1" || publish == "::1" || c.Config.Docker.ReachedAt != "") {
		return c.detected(ctx, seen)
	}
	return []Finding{pass("host-known", "%s", seen)}
}

// detected looks for the Docker host as Berth does where a port's own address says nothing: at the engine's port, which is
// on the same host as the sessions'.
func (c hostIP) detected(ctx context.Context, seen string) []Finding {
	_, text := c.engineHost()
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return []Finding{fail("host-not-detected", "set DOCKER_HOST to tcp://host:port", "%s; its port %q is none", seen, text)}
	}
	found, err := c.DetectHost(ctx, uint16(port), hostip.IsEngine)
	if err != nil {
		return []Finding{fail("host-not-detected", `set HOST_IP to the Docker host's address as it is reached from here; "berth hostip" shows what was tried`,
			"%s; Could not detect Docker host IP", seen)}
	}
	return []Finding{pass("host-detected", "%s; published ports are reached at %s (%s)", seen, found.Addr, found.Source)}
}
