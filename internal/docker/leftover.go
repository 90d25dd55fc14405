package docker

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"berth/internal/session"
)

// Installations lists the sessions that have containers or volumes on the engine, by the name of their installation.
func (r *Runtime) Installations(ctx context.Context) (map[string]map[session.ID]bool, error) {
	all := map[string]map[session.ID]bool{}
	note := func(labels map[string]string) {
		name := labels[labelInstance]
		if name == "" || labels[labelSession] == "" {
			return
		}
		if all[name] == nil {
			all[name] = map[session.ID]bool{}
		}
		all[name][session.ID(labels[labelSession])] = true
	}
	ours := client.Filters{}.Add("label", labelSession)
	err := r.read(ctx, "look for installations", func(ctx context.Context) error {
		containers, err := r.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
		if err != nil {
			return err
		}
		for _, c := range containers.Items {
			note(c.Labels)
		}
		volumes, err := r.api.VolumeList(ctx, client.VolumeListOptions{Filters: ours})
		for _, v := range volumes.Items {
			note(v.Labels)
		}
		return err
	})
	return all, err
}

// Remnants lists what the engine has of this installation's sessions, by the names of their containers. credential returns
// the present credential of the server in a container of that name.
func (r *Runtime) Remnants(ctx context.Context, credential func(containerName string) session.Secret) ([]session.Remnant, error) {
	found := map[string]*session.Remnant{}
	err := r.read(ctx, "look for sessions", func(ctx context.Context) error {
		containers, err := r.inspectAll(ctx)
		if err != nil {
			return err
		}
		for _, c := range containers {
			if _, labelled := c.Config.Labels[labelSession]; !labelled {
				continue
			}
			d := r.describe(ctx, c)
			found[d.Name] = &session.Remnant{
				Session: d.Session, ContainerName: d.Name, Container: &d, Profile: c.Config.Labels[labelProfile],
				Port: c.Config.Labels[labelPort], Fits: hasValue(c, credential(d.Name)), CreatedAt: d.CreatedAt,
			}
		}
		volumes, err := r.api.VolumeList(ctx, client.VolumeListOptions{
			Filters: client.Filters{}.Add("label", labelInstance+"="+r.instance, labelSession),
		})
		if err != nil {
			return err
		}
		for _, v := range volumes.Items {
			name := v.Labels[labelContainer]
			if name == "" || found[name] != nil {
				continue
			}
			found[name] = &session.Remnant{
				Session: session.ID(v.Labels[labelSession]), ContainerName: name, Profile: v.Labels[labelProfile], CreatedAt: instant(v.CreatedAt),
			}
		}
		return nil
	})
	all := make([]session.Remnant, 0, len(found))
	for _, f := range found {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b session.Remnant) int { return strings.Compare(a.ContainerName, b.ContainerName) })
	return all, err
}

// hasValue reports whether a variable of the container's environment has this value.
func hasValue(c container.InspectResponse, value session.Secret) bool {
	found := 0
	for _, variable := range c.Config.Env {
		_, has, _ := strings.Cut(variable, "=")
		found |= subtle.ConstantTimeCompare([]byte(has), []byte(value.Reveal()))
	}
	return found == 1
}
