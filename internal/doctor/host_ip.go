package doctor

import (
	"context"
	"fmt"
	"strings"

	"berth/internal/config"
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
	if where == "on another machine" && (publish == "127.0.0.1" || publish == "::1" || publish == "localhost") {
		return []Finding{fail("published-on-loopback", "set SESSION_PUBLISH_IP to auto, or to an address of the engine's host that is reached from here",
			"%s; sessions are published on its loopback (SESSION_PUBLISH_IP=%s), which is not reached from here", seen, publish)}
	}
	return []Finding{pass("host-known", "%s", seen)}
}
