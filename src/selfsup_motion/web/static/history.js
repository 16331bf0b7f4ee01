// Undo and redo of a state that is plain JSON.

export class History {
  #states;
  #at = 0;
  #most;

  constructor(state, most = 200) {
    this.#states = [JSON.stringify(state)];
    this.#most = most;
  }

  /** A copy of the state that holds. */
  get state() { return JSON.parse(this.#states[this.#at]); }
  get canUndo() { return this.#at > 0; }
  get canRedo() { return this.#at < this.#states.length - 1; }

  /** Make another state the one that holds; false if it is the same. */
  push(state) {
    const text = JSON.stringify(state);
    if (text === this.#states[this.#at]) return false;
    this.#states.splice(this.#at + 1, Infinity, text);
    if (this.#states.length > this.#most) this.#states.shift();
    this.#at = this.#states.length - 1;
    return true;
  }

  undo() {
    if (this.canUndo) this.#at -= 1;
    return this.state;
  }

  redo() {
    if (this.canRedo) this.#at += 1;
    return this.state;
  }
}
