package app

import (
	"maps"
	"slices"

	"berth/internal/config"
	"berth/internal/gateway/model"
)

// modelSettings are the providers of the settings, with what reads their keys.
func modelSettings(c config.Models) model.Settings {
	s := model.Settings{Default: c.Default, Small: c.Small}
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		p := c.Providers[name]
		key := model.FixedKey(p.Key)
		if p.KeyFile != "" {
			key = model.KeyFile(p.KeyFile)
		}
		models := map[string]model.Model{}
		for id, m := range p.Models {
			models[id] = model.Model{Title: m.Name, Context: m.Context, Output: m.Output, Images: m.Images, Reasoning: m.Reasoning, Price: m.Price}
		}
		s.Providers = append(s.Providers, model.Provider{
			Name: name, Kind: model.Kind(p.Kind), BaseURL: p.BaseURL, Key: key, Models: models,
			ServerTools: p.ServerTools, RemoteURLs: p.RemoteURLs, Parameters: p.Parameters,
		})
	}
	return s
}
