// A component that draws again only when one of its properties changed.
import { Component, type ComponentType, type FunctionComponent, h } from "preact";

export function memo<P extends object>(view: FunctionComponent<P>): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const before = this.props as Record<string, unknown>;
      const after = next as Record<string, unknown>;
      return Object.keys(after).some((key) => before[key] !== after[key]) || Object.keys(before).some((key) => !(key in after));
    }
    override render() {
      return h(view, this.props);
    }
  };
}
