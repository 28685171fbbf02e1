// Who belongs to a Network, found without looking at everything: a host has thousands of VIFs, and each Network is asked for its own.
namespace XenFastPath.Model;

public sealed partial record HostState
{
    private readonly Lookups _lookups = new();

    /// <summary>What <c>with</c> begins with: all that is wanted, and no lookups yet.</summary>
    private HostState(HostState other)
    {
        _lookups = new();
        (Networks, Pifs, Vifs, Doomed) = other;
        Vlans = other.Vlans;
        Bonds = other.Bonds;
        DoomedLinks = other.DoomedLinks;
        TagsKept = other.TagsKept;
    }

    /// <summary>Each is made when it is first asked for. No part of the value: two states are equal whatever they were asked.</summary>
    private sealed class Lookups : IEquatable<Lookups>
    {
        private ILookup<Guid, Vif>? _vifs;
        private ILookup<Guid, Pif>? _pifs;
        private ILookup<Guid, Vlan>? _vlans;

        public ILookup<Guid, Vif> VifsOf(HostState state) => _vifs ??= state.Vifs.ToLookup(v => v.Network);

        public ILookup<Guid, Pif> PifsOf(HostState state) => _pifs ??= state.Pifs.Where(p => p.Network is not null).ToLookup(p => p.Network!.Value);

        public ILookup<Guid, Vlan> VlansOf(HostState state) => _vlans ??= state.Vlans.ToLookup(v => v.Network);

        public bool Equals(Lookups? other) => other is not null;

        public override bool Equals(object? obj) => obj is Lookups;

        public override int GetHashCode() => 0;
    }
}
