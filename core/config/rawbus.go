// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// The raw types of what a node says to others and hears from them.
type (
	rawCluster struct {
		Group           string `key:"group"`
		Probers         int    `key:"probers"`
		Quorum          int    `key:"quorum"`
		Scheduling      string `key:"scheduling"`
		Definitions     string `key:"definitions"`
		DefinitionsExec string `key:"definitions_exec"`
	}
	rawBus struct {
		Listen      string             `key:"listen"`
		Servers     []string           `key:"servers"`
		Users       map[string]rawUser `key:"users"`
		Login       rawLogin           `key:"login"`
		TLS         rawTLS             `key:"tls"`
		CloudEvents bool               `key:"cloudevents"`
	}
	rawLogin struct {
		User string `key:"user"`
		rawPassword
		Credentials string `key:"credentials"`
		NKeyFile    string `key:"nkey_file"`
		Cert        string `key:"cert"`
		Key         string `key:"key"`
		CA          string `key:"ca"`
	}
	rawUser struct {
		rawPassword
		NKey        string   `key:"nkey"`
		Certificate string   `key:"certificate"`
		Publish     []string `key:"publish"`
		Subscribe   []string `key:"subscribe"`
	}
	rawPassword struct {
		Password     core.Secret `key:"password"`
		PasswordFile string      `key:"password_file"`
		PasswordEnv  string      `key:"password_env"`
	}
	rawTLS struct {
		Cert string `key:"cert"`
		Key  string `key:"key"`
		CA   string `key:"ca"`
	}
	rawHTTP struct {
		Listen    string                 `key:"listen"`
		TLS       rawTLS                 `key:"tls"`
		Users     map[string]rawHTTPUser `key:"users"`
		MaxSeries int                    `key:"max_series"`
	}
	rawHTTPUser struct {
		rawPassword
		Token     core.Secret `key:"token"`
		TokenFile string      `key:"token_file"`
		TokenEnv  string      `key:"token_env"`
		Rights    []string    `key:"rights"`
	}
	rawWebhook struct {
		URL        core.Secret            `key:"url"`
		URLFile    string                 `key:"url_file"`
		URLEnv     string                 `key:"url_env"`
		Events     []string               `key:"events"`
		Secret     core.Secret            `key:"secret"`
		SecretFile string                 `key:"secret_file"`
		SecretEnv  string                 `key:"secret_env"`
		Headers    map[string]core.Secret `key:"headers"`
		Timeout    time.Duration          `key:"timeout"`
		RetryFor   time.Duration          `key:"retry_for"`
		CA         string                 `key:"ca"`
		Template   string                 `key:"template"`
	}
)
