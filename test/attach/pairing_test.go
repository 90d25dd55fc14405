package attach_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"berth/internal/devicetest"
)

// paired is a client of OpenCode's 2.x line. It is given the address and the token, pairs by a code, as JSON and by a browser, renews
// what it got, and follows the events. The server is one of the 1.x line, which has its paths but for /api/info.
func paired(d *door) (string, error) {
	c, err := devicetest.New(d.URL, "", d.Token)
	if err != nil {
		return "", err
	}
	c.Transport = d.client.Transport
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	if d.By == "path" {
		if _, err := c.Pair(ctx, ""); err == nil {
			return "", fmt.Errorf("it has paired at %s, which is no session's", c.Origin)
		}
		return "drops the path: name or port", nil
	}
	device, err := c.Paired(ctx, "phone")
	if err != nil {
		return "", fmt.Errorf("pair: %w", err)
	}
	renewed, err := device.Paired(ctx, "")
	if err != nil {
		return "", fmt.Errorf("renew: %w", err)
	}
	var health struct{ Healthy bool }
	if err := renewed.Call(ctx, http.MethodGet, "/api/health", "", &health); err != nil || !health.Healthy {
		return "", fmt.Errorf("with the token that it got: %v, %w", health, err)
	}
	if err := device.Call(ctx, http.MethodGet, "/api/health", "", &health); err == nil {
		return "", errors.New("the token before the renewal works after it")
	}
	lines, err := renewed.Events(ctx)
	if err != nil {
		return "", fmt.Errorf("events: %w", err)
	}
	if _, ok := <-lines; !ok {
		return "", errors.New("the events ended before the first one")
	}
	code, err := c.Pair(ctx, "")
	if err != nil {
		return "", err
	}
	cookie, _, err := c.Browse(ctx, code)
	if err != nil {
		return "", fmt.Errorf("pair by a browser: %w", err)
	}
	browser := c.As("")
	if err := browser.Call(ctx, http.MethodGet, "/api/health", "", &health, "Cookie", cookie.Name+"="+cookie.Value, "Origin", c.Origin); err != nil {
		return "", fmt.Errorf("with the browser's cookie: %w", err)
	}
	return works, nil
}
