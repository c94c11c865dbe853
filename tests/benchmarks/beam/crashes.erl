%% Crashes under one supervisor. The next life is found in the table of names that its init writes.
%% Nothing is restored: a gen_server begins anew.
-module(crashes).
-export([single/2, many/2]).

%% One child after the other is told to exit; microseconds until its next life answers a call.
single(Siblings, Times) ->
    family:start(),
    [family:start_child(Name) || Name <- lists:seq(1, Siblings)],
    Took = lists:sort([one(1 + Number * 7919 rem Siblings) || Number <- lists:seq(1, Times)]),
    family:say("{\"p50\": ~.4f, \"p99\": ~.4f}",
               [family:quantile(Took, 0.5) / 1000, family:quantile(Took, 0.99) / 1000]).

one(Name) ->
    Old = family:find(Name),
    Began = erlang:monotonic_time(),
    exit(Old, boom),
    family:ask(Name, Old),
    family:us(Began).

%% So many of all crash at once; milliseconds until each has answered again.
many(All, Crashing) ->
    family:start(),
    [family:start_child(Name) || Name <- lists:seq(1, All)],
    Victims = [{Name, family:find(Name)} || Name <- lists:seq(1, Crashing)],
    Began = erlang:monotonic_time(),
    [gen_server:cast(Pid, crash) || {_, Pid} <- Victims],
    [family:ask(Name, Pid) || {Name, Pid} <- Victims],
    family:say("{\"all_ms\": ~.4f}", [family:us(Began) / 1000]).
