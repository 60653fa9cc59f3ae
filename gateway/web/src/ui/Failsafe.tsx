// When drawing fails: one sentence and a way on, instead of an empty page.
import { Component, type ComponentChildren } from "preact";
import { sentenceOf } from "../store/notices";
import { Wordmark } from "./Wordmark";

export class Failsafe extends Component<{ children: ComponentChildren }, { failure: string | null }> {
  override state = { failure: null };

  static override getDerivedStateFromError(error: unknown): { failure: string } {
    return { failure: sentenceOf(error) };
  }

  override componentDidCatch(error: unknown): void {
    console.error(error);
  }

  override render() {
    if (this.state.failure === null) return this.props.children;
    return (
      <main class="entrance">
        <div class="entrance-card" role="alert">
          <Wordmark />
          <h1>This page has stumbled</h1>
          <p class="entrance-lead">Nothing you sent is lost. Load the page again to go on.</p>
          <button type="button" class="button button-accent button-wide" onClick={() => location.reload()}>
            Load again
          </button>
          <p class="entrance-foot">
            <small>{this.state.failure}</small>
          </p>
        </div>
      </main>
    );
  }
}
