package connection

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

const imageMissing Code = "image-missing"

// Label marks the containers that are made by the test, with the value "tls".
const Label = "berth.check"

// create makes a container that is never started.
func (r *run) create(ctx context.Context) Step {
	if !r.Deep {
		return skip(notAskedFor, "no container was made, because that was not asked for (--deep)")
	}
	if r.Image == "" {
		found, bad := r.anyImage(ctx)
		if bad != nil {
			return *bad
		}
		if found == "" {
			return skip("no-image", "the engine has no image to make a container of")
		}
		r.Image = found
	}
	name := "berth-check-" + strings.ToLower(rand.Text()[:12])
	text, bad := r.call(ctx, http.MethodPost, "/containers/create?name="+name, map[string]any{
		"Image": r.Image, "Entrypoint": []string{"/never-started"}, "Labels": map[string]string{Label: "tls"}, "NetworkDisabled": true,
		"HostConfig": map[string]any{
			"NetworkMode": "none", "CapDrop": []string{"ALL"}, "ReadonlyRootfs": true, "SecurityOpt": []string{"no-new-privileges:true"},
		},
	})
	if bad != nil {
		// The engine may have made it and failed to answer.
		r.container = name
		return *bad
	}
	r.container = name
	var made struct{ ID string }
	if err := json.Unmarshal(text, &made); err != nil || made.ID == "" {
		return notAnEngine("the answer to the creation of %s cannot be read", name)
	}
	return pass("made %s of %s", name, r.Image)
}

// anyImage returns the ID of an image on the engine; "" if there is none.
func (r *run) anyImage(ctx context.Context) (string, *Step) {
	text, bad := r.call(ctx, http.MethodGet, "/images/json", nil)
	if bad != nil {
		return "", bad
	}
	var images []struct {
		ID string `json:"Id"`
	}
	if err := json.Unmarshal(text, &images); err != nil {
		o := notAnEngine("the list of images cannot be read: %v", err)
		return "", &o
	}
	if len(images) == 0 {
		return "", nil
	}
	return images[0].ID, nil
}

func (r *run) remove(ctx context.Context) Step {
	_, bad := r.call(ctx, http.MethodDelete, "/containers/"+url.PathEscape(r.container)+"?force=1&v=1", nil)
	switch {
	case bad == nil:
		return pass("removed %s", r.container)
	case bad.Code == imageMissing: // status 404
		return skip(earlierFailure, "there is no container to remove")
	}
	return fail("remove-failed", "remove it by hand: docker rm -f "+r.container, "%s is left on the engine: %s", r.container, bad.Detail)
}
