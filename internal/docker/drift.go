package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// specDigests are digests of what a container is made from, without the image: "limits=… environment=… profile=…". An
// engine adds defaults of its own, so that the specification cannot be read back from a container.
func specDigests(asked client.ContainerCreateOptions) (string, error) {
	config, host := *asked.Config, *asked.HostConfig
	limits := []any{host.Memory, host.MemorySwap, host.CPUQuota, host.CPUPeriod, host.PidsLimit}
	environment := config.Env
	host.Memory, host.MemorySwap, host.CPUQuota, host.CPUPeriod, host.PidsLimit = 0, 0, 0, 0, nil
	config.Env, config.Image, config.Labels = nil, "", nil
	digests := make([]string, 0, 3)
	for _, p := range []struct {
		part  session.Part
		value any
	}{{session.PartLimits, limits}, {session.PartEnvironment, environment}, {session.PartProfile, []any{config, host}}} {
		text, err := json.Marshal(p.value)
		if err != nil {
			return "", fmt.Errorf("describe the container's %s: %w", p.part, err)
		}
		sum := sha256.Sum256(text)
		digests = append(digests, string(p.part)+"="+hex.EncodeToString(sum[:8]))
	}
	return strings.Join(digests, " "), nil
}

// Drift compares a container with the one that would be made now. See [session.Runtime]. A container that another program
// changed, or that has no digests, differs.
func (r *Runtime) Drift(ctx context.Context, ref string, spec session.Spec) ([]session.Part, error) {
	var parts []session.Part
	err := r.read(ctx, "compare container "+ref, func(ctx context.Context) error {
		c, err := r.inspectOwn(ctx, ref)
		if err != nil {
			return err
		}
		on, err := r.attachedLike(ctx, c, spec.Egress)
		if err != nil {
			return err
		}
		asked, err := r.containerOptions(spec, "", on)
		if err != nil {
			return err
		}
		another, err := r.isAnotherImage(ctx, c, spec.Image)
		if err != nil {
			return err
		}
		if parts = nil; another {
			parts = append(parts, session.PartImage)
		}
		parts = append(parts, changed(asked, c)...)
		return nil
	})
	return parts, err
}

// attachedLike returns how a container of that mode is connected if it replaces this one, whose route it keeps. Of a network
// that does not exist, the name server is not compared.
func (r *Runtime) attachedLike(ctx context.Context, c container.InspectResponse, egress session.EgressMode) (attachment, error) {
	n := r.networkOf(egress)
	on := attachment{network: n.name, direct: n.internal || len(c.HostConfig.PortBindings) == 0}
	if !n.internal {
		return on, nil
	}
	found, err := r.networks(ctx, n)
	switch {
	case err != nil:
		return attachment{}, err
	case len(found) > 0:
		_, on.dns = subnetOf(found[0])
	case len(c.HostConfig.DNS) > 0:
		on.dns = c.HostConfig.DNS[0]
	}
	return on, nil
}

// changed names what differs apart from the image.
func changed(asked client.ContainerCreateOptions, c container.InspectResponse) []session.Part {
	made := map[string]bool{}
	for digest := range strings.FieldsSeq(c.Config.Labels[labelSpec]) {
		made[digest] = true
	}
	var parts []session.Part
	for digest := range strings.FieldsSeq(asked.Config.Labels[labelSpec]) {
		if part, _, _ := strings.Cut(digest, "="); !made[digest] {
			parts = append(parts, session.Part(part))
		}
	}
	if len(parts) > 0 {
		return parts
	}
	asked.Config.Labels = nil // the attempt's label always differs
	if len(weakened(asked, *c.HostConfig, *c.Config)) == 0 {
		return nil
	}
	if c.HostConfig.Memory != asked.HostConfig.Memory || c.HostConfig.CPUQuota != asked.HostConfig.CPUQuota || c.HostConfig.CPUPeriod != asked.HostConfig.CPUPeriod {
		return []session.Part{session.PartLimits}
	}
	return []session.Part{session.PartProfile}
}

// isAnotherImage reports whether a container made from that reference now would have another image. A reference that the
// engine cannot resolve does not count as another image.
func (r *Runtime) isAnotherImage(ctx context.Context, c container.InspectResponse, reference string) (bool, error) {
	image, err := r.api.ImageInspect(ctx, reference)
	switch {
	case err != nil && (answeredByEngine(err) || errdefs.IsPermissionDenied(err)):
		return false, nil
	case err != nil:
		return false, err
	}
	return c.Config.Image != reference || image.ID != c.Image, nil
}
